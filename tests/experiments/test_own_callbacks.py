"""User-defined callbacks in a configuration: they follow a run, may stop it, and may fail."""

import json

import pytest

from experiments.harness.runs import metrics, rundir
from experiments.harness.runs.rundir import RunDirectory
from tests.experiments import own_project
from tests.experiments.own_project import call
from tests.experiments.small_runs import SHORT

CALLBACKS = """
import dataclasses

import metalearn as ml


@dataclasses.dataclass(frozen=True)
class StopAt:
    iteration: int

    def begin(self, trainer, end):
        def called(call):
            print("followed up to", trainer.iteration)
            return max(0, self.iteration - trainer.iteration)

        return ml.callbacks.Watch(called, limit=self.iteration)


def failing():
    def fail(call):
        raise ValueError("the disk of mine is full")

    return ml.callbacks.each(fail)


def nothing():
    return 3
"""

TRAIN = ["train", "packages=mylab", *SHORT]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "mylab.py").write_text(CALLBACKS)
    own_project.forget()
    yield folder
    own_project.forget()


def run_of(folder, name):
    (path,) = (folder / name / "sinusoid").iterdir()
    return RunDirectory(path)


def test_it_ends_the_training_and_the_run_is_complete_and_reproduced(project, capfd):
    train = [*TRAIN, "callbacks=[{_target_: mylab.StopAt, iteration: 25}]", "paths.runs=stopped"]
    assert call(project, *train) == 0
    printed = capfd.readouterr().out
    assert "followed up to 25" in printed
    assert "ended by a callback at iteration 25 of 60" in printed
    run = run_of(project, "stopped")
    assert len(metrics.read(run.metrics)["outer/loss"]) == 25
    manifest = json.loads(run.manifest.read_text())
    assert (manifest["status"], manifest["stopped"]) == ("complete", 25)

    # As one that was killed while it was evaluated, it does not go on with the training.
    rundir.update_manifest(run, status="running")
    assert call(project, *train) == 0
    assert "followed up to" not in capfd.readouterr().out
    assert len(metrics.read(run.metrics)["outer/loss"]) == 25
    assert call(project, "reproduce", "packages=mylab", f"run={run.path}") == 0
    assert "25 iterations, bit for bit" in capfd.readouterr().out


def test_a_run_without_callbacks_is_another_one_and_keeps_its_id(project):
    assert call(project, *TRAIN, "paths.runs=plain") == 0
    plain, stopped = run_of(project, "plain"), run_of(project, "stopped")
    assert plain.path.name != stopped.path.name
    assert "callbacks" not in plain.config.read_text()


def test_one_that_fails_leaves_a_run_that_can_go_on(project, capfd):
    assert call(project, *TRAIN, "callbacks=[{_target_: mylab.failing}]", "paths.runs=failed") == 1
    captured = capfd.readouterr()
    assert "the disk of mine is full" in captured.out + captured.err
    assert "Traceback" not in captured.out + captured.err
    run = run_of(project, "failed")
    manifest = json.loads(run.manifest.read_text())
    assert manifest["status"] == "failed"
    assert manifest["iteration"] > 0
    assert "ValueError: the disk of mine is full" in run.error.read_text()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("[{_target_: mylab.nothing}]", "returns a int, which has no method begin"),
        ("[{_target_: mylab.StopAt}]", "missing 1 required positional argument: 'iteration'"),
        ("[{_target_: metalearn.callbacks.csv, path: a}]", "is not allowed"),
        ("[{_target_: another.StopAt}]", "the package another, which is not trusted"),
        ("[StopAt]", "must be a list of objects"),
        ("{a: 1}", "must be a list of objects"),
    ],
)
def test_what_is_no_callback_is_refused_before_anything_is_written(project, capfd, setting, message):
    assert call(project, *TRAIN, f"callbacks={setting}", "paths.runs=refused") == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("error:") == 1
    assert not (project / "refused").exists()
