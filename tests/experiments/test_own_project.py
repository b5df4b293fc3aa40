"""The guide's project in another folder: all commands accept its parts if they are trusted."""

import json
import re
import shutil
import sys

import pytest

from experiments.harness.runs import rundir
from experiments.harness.runs.rundir import RunDirectory
from experiments.harness.session import training as session
from tests.experiments import own_project
from tests.experiments.own_project import COMMANDS, SMALL, call, on
from tests.experiments.small_runs import content, stop_at

TRAIN, SWEEP, REPORT, EVALUATE, REPRODUCE = COMMANDS

TRAIN = [*TRAIN, *SMALL]

WITHOUT_TRUST = [word for word in TRAIN if word != "packages=mylab"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project with a run that was interrupted and resumed, and an uninterrupted one."""
    folder = tmp_path_factory.mktemp("project")
    assert len(own_project.make(folder)) == 8
    own_project.forget()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(session, "bar", stop_at(6, KeyboardInterrupt))
        assert call(folder, *TRAIN) == 130
    assert call(folder, *TRAIN) == 0
    assert call(folder, *TRAIN, "paths.runs=whole") == 0
    yield folder
    own_project.forget()


def only_run(folder):
    (path,) = (folder / "runs" / "waves").iterdir()
    return RunDirectory(path)


def test_it_trains_is_interrupted_and_goes_on_bit_for_bit(project):
    run = only_run(project)
    whole = RunDirectory(project / "whole" / "waves" / run.path.name)
    assert content(run) == content(whole)
    assert len(json.loads(run.manifest.read_text())["resumed"]) == 1


def test_its_files_are_code_of_the_run_and_what_is_trusted_is_not_kept(project):
    config, manifest = rundir.read(only_run(project))
    assert {"mylab/tasks.py", "mylab/losses.py", "experiments/train.py"} <= manifest["code"]["files"].keys()
    assert "packages" not in config
    assert config["learner"]["loss"] == "mylab.losses.pseudo_huber"
    assert "pseudo_huber" in only_run(project).evaluation.read_text()


def test_it_is_evaluated_with_its_own_settings_and_reproduced(project, capfd):
    run = only_run(project).path.relative_to(project)
    evaluate = on(EVALUATE, run)
    assert call(project, *evaluate) == 0
    assert "PSEUDO_HUBER" in capfd.readouterr().out
    assert call(project, *(word.replace("task.period", "task.perriod") for word in evaluate)) == 2
    assert "did you mean task.period" in capfd.readouterr().err
    assert call(project, *on(REPRODUCE, run)) == 0
    assert "12 iterations, bit for bit" in capfd.readouterr().out


def test_it_is_swept_and_reported(project, capfd):
    """A sweep of two jobs, of which one is complete, and its report run in the user's folder."""
    sweep = [word for word in SWEEP if word != "hydra/launcher=joblib"]  # which is slow to start
    assert len(sweep) < len(SWEEP)
    assert call(project, *sweep, *SMALL, "paths.runs=whole") == 0
    assert "2 jobs: 1 complete before, 1 complete now" in capfd.readouterr().out
    (place,) = (project / "whole" / "sweeps").iterdir()
    assert call(project, *on(REPORT, place.relative_to(project))) == 0
    printed = capfd.readouterr().out
    assert "waves, 10-shot: pseudo_huber on 4 held-out tasks" in printed
    assert "waves, 10-shot: mse on 4 held-out tasks" in printed
    assert "left out" not in printed


@pytest.mark.parametrize("command", ["train", "evaluate", "reproduce", "report", "check_gradients"])
def test_without_trust_nothing_of_it_is_run(project, capfd, command):
    """Without trust, every command has one message and exit code 2, and imports nothing of the package."""
    run = only_run(project).path.relative_to(project)
    own_project.forget()
    arguments = {"evaluate": [f"run={run}"], "reproduce": [f"run={run}"], "report": ["runs=runs/waves"]}
    assert call(project, command, *arguments.get(command, WITHOUT_TRUST[1:])) == 2
    captured = capfd.readouterr()
    assert "the package mylab, which is not trusted" in captured.err
    assert "packages=[mylab]" in captured.err
    assert "METALEARN_PACKAGES=mylab" in captured.err
    assert captured.err.count("error:") == 1
    assert not captured.out
    assert not any(name.startswith("mylab") for name in sys.modules)


def test_the_environment_trusts_as_the_command_line_does(project, monkeypatch, capfd):
    monkeypatch.setenv("METALEARN_PACKAGES", "mylab,another")
    assert call(project, *WITHOUT_TRUST) == 0
    assert "complete since" in capfd.readouterr().out


def test_a_run_and_a_file_cannot_trust(project, tmp_path, capfd):
    """Packages in a stored configuration are ignored, and a file that sets them is rejected."""
    shutil.copytree(only_run(project).path, tmp_path / "run")
    with (tmp_path / "run" / "config.yaml").open("a") as file:
        file.write("packages: [mylab]\n")
    assert call(project, "evaluate", f"run={tmp_path / 'run'}") == 2
    assert "is not trusted" in capfd.readouterr().err
    theirs = tmp_path / "conf" / "experiment"
    theirs.mkdir(parents=True)
    (theirs / "evil.yaml").write_text("# @package _global_\npackages: [mylab]\n")
    assert call(project, "train", f"--config-dir={tmp_path / 'conf'}", "experiment=evil") == 2
    assert re.search(r"evil\.yaml has packages: .* not in a file", capfd.readouterr().err)


def test_code_that_changed_is_named(project, capfd):
    path = project / "mylab" / "losses.py"
    before = path.read_text()
    path.write_text(f"{before}\n")
    try:
        assert call(project, *TRAIN) == 0
        assert "made by other code: mylab/losses.py changed" in capfd.readouterr().out
    finally:
        path.write_text(before)
