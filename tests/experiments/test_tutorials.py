"""Tutorials run completely, and have the results that they state."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from tests.documents import ROOT

FOLDER = ROOT / "experiments" / "tutorials"

# Keras saves variables by np.array(variable), which NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def run(name):
    return runpy.run_path(str(FOLDER / f"{name}.py"))


def test_maml_by_hand():
    """Correct versions have the exact meta-gradient, wrong ones that of first order, to 1e-6."""
    found = run("maml_by_hand")["results"]
    exact, first_order, reptile = [0.225, 0.544, -0.552], [0.25, 0.68, -0.92], [-0.05, -0.08, -0.18]
    expected = dict.fromkeys(("nested tapes", "unrolled", "checkpointed"), exact)
    expected |= {name: first_order for name in found if name.startswith("wrong: ")}
    expected |= {"first_order": first_order, "reptile": reptile}
    assert len(found) == len(expected) == 8
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_own_data():
    """The error for held-out sensors is below a tenth of the variance."""
    names = run("own_data")
    assert names["report"].mean[5] < names["report"].mean[0] / 5
    assert names["error"] < names["y"].var() / 10


@pytest.mark.slow
def test_own_algorithm():
    """On the same tasks, the median loss is below that of BOIL and that before adaptation."""
    names = run("own_algorithm")
    new, boil = names["new"], names["boil"]
    assert new["tasks_hash"] == boil["tasks_hash"]
    assert new["median"][1] < min(boil["median"][1], new["median"][0])


@pytest.mark.slow
def test_reading_the_meta_gradient():
    names = run("read_the_meta_gradient")
    assert names["found"]["order/estimator_cosine"] > 0.999
    assert names["biased"]["order/estimator_cosine"] < 0.9
    assert names["found"]["inner/stability"] < 2 < names["unstable"]["inner/stability"]


@pytest.mark.slow
def test_hyperparameters():
    """Relevant features have smaller penalties, and the test error decreases."""
    names = run("hyperparameters")
    learned = names["learned"]
    assert learned[:3].max() < -1 < learned[3:].mean()
    assert names["test_error"](learned) < names["test_error"](names["log_l2"])
    np.testing.assert_allclose(names["gradient"], names["closed_form"], rtol=1e-8, atol=1e-12)


@pytest.mark.slow
def test_a_figure_of_the_paper():
    names = run("sinusoid_figure")
    assert names["losses"]["MAML"][1] < names["losses"]["pretrained"][10]
    assert names["path"].read_bytes().startswith(b"\x89PNG")


def test_every_tutorial_is_short_and_in_cells():
    for path in FOLDER.glob("[a-z]*.py"):
        text = path.read_text()
        assert text.startswith("# %% [markdown]\n# # ")
        assert text.count("\n# %%\n") >= 2
        assert len(text.splitlines()) < 90
        assert f'run("{path.stem}")' in Path(__file__).read_text()
