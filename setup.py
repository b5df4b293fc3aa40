"""The packages of the distribution, by the names that they have when installed; setup.cfg maps them."""

from setuptools import find_namespace_packages, find_packages, setup

HOUSE = find_namespace_packages(include=["experiments", "experiments.*"], exclude=["experiments.assets"])

setup(
    packages=[
        *find_packages(include=["metalearn", "metalearn.*"]),
        *(f"metalearn_{name}" for name in HOUSE),
        "metalearn_experiments.conf",
    ]
)
