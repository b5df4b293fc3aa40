"""The installed files: every source file and configuration page, under the project's names."""

import configparser
import re
import shutil
import subprocess
import sys
import sysconfig

import pytest

from tests.documents import ROOT, TEXT

COMPLETING = """
eval "$(metalearn train -sc install=bash)"
COMP_LINE="metalearn train --config-dir=mylab/conf task=wa"
COMP_POINT=${#COMP_LINE}
COMP_CWORD=3
hydra_bash_completion
echo "${COMPREPLY[@]}"
"""
"""What a shell does when the tabulator is pressed."""


def test_every_file_is_in_the_distribution():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    lines = settings["options"]["package_dir"].split("\n")
    renamed = [tuple(part.strip() for part in line.split("=")) for line in lines if line]
    packages = settings["options"]["packages"].split()

    def folder(package):
        for name, place in sorted(renamed, reverse=True):
            if package == name or package.startswith(f"{name}."):
                return ROOT / place / package[len(name) :].replace(".", "/").lstrip("/")
        return ROOT / package.replace(".", "/")

    installed = {folder(package) for package in packages}
    assert all(path.is_dir() for path in installed)
    sources = [path for name in ("metalearn", "experiments") for path in (ROOT / name).rglob("*.py")]
    assert not {path.parent for path in sources} - installed
    assert ROOT / "conf" in installed
    assert {name.partition(".")[0] for name in packages} == {"metalearn", "metalearn_experiments"}


def test_metadata_say_what_is_tested():
    """The classifiers list every supported Python version, and the extras all that the pages name."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    first, last = (int(each) for each in re.findall(r"3\.(\d+)", settings["options"]["python_requires"]))
    found = re.findall(r":: 3\.(\d+)$", settings["metadata"]["classifiers"], re.MULTILINE)
    assert [int(each) for each in found] == list(range(first, last))
    extras = {*settings["options.extras_require"]}
    assert extras >= {"sweep", "ray", "slurm", "data", "rl", "benchmark", "docs", "test", "dev"}
    used = re.findall(r"'\.\[([\w,]+)\]'|metalearn-tf\[([\w,]+)\]", TEXT)
    assert {name for pair in used for each in pair if each for name in each.split(",")} <= extras


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(tmp_path):
    """An installed wheel runs a user's project, in an environment without this checkout."""
    from tests.experiments import own_project

    def run(*command):
        path = f"{tmp_path / 'venv' / 'bin'}:/usr/bin:/bin"
        done = subprocess.run(
            command, cwd=tmp_path, env={"PATH": path, "HOME": str(tmp_path)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("metalearn", "experiments", "conf"):  # a copy, for pip builds in there
        shutil.copytree(ROOT / name, tmp_path / "source" / name, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source" / name)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "wheels", "./source")
    run(sys.executable, "-m", "venv", "venv")
    (place,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    (place / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    (wheel,) = (tmp_path / "wheels").iterdir()
    run("pip", "install", "--quiet", "--no-deps", "--force-reinstall", str(wheel))
    assert "evaluate" in run("metalearn", "--help")
    own_project.make(tmp_path)
    train, sweep, report, evaluate, reproduce = own_project.COMMANDS
    assert "kept in" not in run("metalearn", *train, *own_project.SMALL)
    assert "2 jobs: 1 complete before, 1 complete now" in run("metalearn", *sweep, *own_project.SMALL)
    (place,) = (tmp_path / "runs" / "sweeps").iterdir()
    path = next((tmp_path / "runs" / "waves").iterdir())
    assert "index.html" in run("metalearn", *own_project.on(report, place))
    assert "kept in" in run("metalearn", *own_project.on(evaluate, path))
    assert "same: " in run("metalearn", *own_project.on(reproduce, path))
    assert run("bash", "-c", COMPLETING) == "task=waves\n"
