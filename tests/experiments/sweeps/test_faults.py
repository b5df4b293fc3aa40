"""Sweeps and searches that are started twice, meet external faults, or have changed settings."""

import json

import pytest

from experiments.harness.runs import identity, rundir
from experiments.harness.runs.lock import locked
from experiments.harness.session import training as session
from experiments.harness.sweeps.execution import LauncherError
from tests.experiments.small_runs import pretend, run
from tests.experiments.sweeps.commands import SMALL, sweep_of
from tests.experiments.sweeps.test_search import RATE, SEARCH, study_of

GRID = ["-m", *SMALL, "training.iterations=20", "seed=0,1"]

TRIALS = [*SEARCH, RATE, "hydra.sweeper.trials=2"]


@pytest.fixture
def stand_in(monkeypatch):
    """A mock training that writes only manifests, and its requested configurations."""
    asked = []

    def train(config, report=None):
        asked.append(config)
        run = rundir.locate(config)
        later = identity.afterwards(config)
        with rundir.writing(run.path):
            pretend(run, config, status="complete", validation_loss=1.0, afterwards=later)
        return 0

    monkeypatch.setattr(session, "train", train)
    return asked


@pytest.mark.usefixtures("unbuilt")
@pytest.mark.parametrize(
    "arguments", [GRID, pytest.param(TRIALS, marks=pytest.mark.slow)], ids=["grid", "search"]
)
def test_a_second_start_says_that_it_is_being_run(tmp_path, capfd, stand_in, arguments):
    assert run(tmp_path, arguments) == 0
    (place,) = (tmp_path / "sweeps").iterdir()
    before, times = sorted(place.iterdir()), len(stand_in)
    with locked(place):
        assert run(tmp_path, arguments) == 2
    message = capfd.readouterr().err
    assert f"{place} is in use by another process" in message
    assert "this sweep is being run by it" in message
    assert "Traceback" not in message
    assert (sorted(place.iterdir()), len(stand_in)) == (before, times)
    assert run(tmp_path, arguments) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("unbuilt")
def test_a_file_in_the_way_leaves_a_trial_to_be_run_again(tmp_path, capfd, stand_in):
    """If a run's folder cannot be written, the trial is repeated with the same values by the next command."""
    (tmp_path / "sinusoid").write_text("in the way")
    assert run(tmp_path, TRIALS) == 1
    captured = capfd.readouterr()
    assert "cannot write to" in captured.out + captured.err
    assert "resume with: python" in captured.out
    assert "Traceback" not in captured.err
    (trial,) = study_of(tmp_path).trials
    assert trial.state.name == "RUNNING"
    (tmp_path / "sinusoid").unlink()
    assert run(tmp_path, TRIALS) == 0
    trials = study_of(tmp_path).trials
    assert [each.state.name for each in trials] == ["COMPLETE", "COMPLETE"]
    assert trials[0].params == trial.params


@pytest.mark.usefixtures("unbuilt")
def test_a_full_disk_leaves_a_trial_to_be_run_again(tmp_path, monkeypatch, capfd, stand_in):
    complete = session.train

    def full(config, report=None):
        run = rundir.locate(config)
        with rundir.writing(run.path):
            pretend(run, config, status="running")
        return 1

    monkeypatch.setattr(session, "train", full)
    assert run(tmp_path, TRIALS) == 1
    assert [each.state.name for each in study_of(tmp_path).trials] == ["RUNNING"]
    monkeypatch.setattr(session, "train", complete)
    assert run(tmp_path, TRIALS) == 0
    assert [each.state.name for each in study_of(tmp_path).trials] == ["COMPLETE", "COMPLETE"]


@pytest.mark.usefixtures("unbuilt")
def test_jobs_that_are_complete_are_evaluated_otherwise(tmp_path, stand_in):
    """With another evaluation, each complete job is run again once.

    Values that vary only in the evaluation are not a sweep.
    """
    assert run(tmp_path, GRID) == 0
    assert run(tmp_path, GRID) == 0
    assert len(stand_in) == 2
    otherwise = [*GRID, "evaluation.task.queries=7"]
    for _ in range(2):
        assert run(tmp_path, otherwise) == 0
    assert [config["evaluation"]["task"]["queries"] for config in stand_in] == [100, 100, 7, 7]
    assert len({config["seed"] for config in stand_in[2:]}) == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["evaluation.steps=1,2"], ["evaluation.steps=2", "same training", "experiments.evaluate"]),
        (["learner.adapted=all,nothing"], ["learner.adapted=nothing", "output/kernel"]),
        (["+evaluation.task.shots=5,0"], ["evaluation.task.shots=0", "an integer from 1"]),
        (["model.input_size=1,2"], ["model.input_size=2", "inputs of shape (2,)"]),
        (["training.meta_batch_size=4,2000000000"], ["need at least", "GiB", "this machine has"]),
    ],
)
def test_every_job_is_built_before_the_first_is_trained(tmp_path, capfd, stand_in, arguments, named):
    assert run(tmp_path, [*GRID[:-1], *arguments]) == 2
    message = capfd.readouterr().err
    assert all(word in message for word in named), message
    assert "Traceback" not in message
    assert stand_in == []


@pytest.mark.usefixtures("unbuilt")
def test_a_launcher_that_loses_a_worker_launches_the_other_jobs_again(tmp_path, monkeypatch, capfd, stand_in):
    """If a launcher fails, the unfinished jobs are launched again, up to a number of attempts."""
    from experiments.harness.sweeps import execution

    launch, launches = execution._launch, []

    def lossy(setting, jobs):
        launches.append([job.name for job in jobs])
        if len(launches) == 1:
            launch(setting, jobs[:1])
            raise LauncherError("TerminatedWorkerError: a worker was killed")
        return launch(setting, jobs)

    monkeypatch.setattr(execution, "_launch", lossy)
    assert run(tmp_path, GRID) == 0
    assert launches == [["seed=0", "seed=1"], ["seed=1"]]
    printed = capfd.readouterr().out
    assert "the launcher failed: TerminatedWorkerError" in printed
    assert "2 jobs: 2 complete now" in printed

    def broken(setting, jobs):
        launches.append(jobs)
        raise LauncherError("gone")

    launches.clear()
    monkeypatch.setattr(execution, "_launch", broken)
    assert run(tmp_path / "other", GRID) == 1
    assert len(launches) == execution.ATTEMPTS
    assert "2 not complete" in capfd.readouterr().out


@pytest.mark.usefixtures("unbuilt")
def test_jobs_by_other_code_are_named(tmp_path, capfd, stand_in):
    """Complete jobs by other code are named and not trained again, unless this is requested."""
    assert run(tmp_path, GRID) == 0
    job = sweep_of(tmp_path)[0]
    made = json.loads(job.run.manifest.read_text())["code"]
    rundir.update_manifest(job.run, code={**made, "libraries": {**made["libraries"], "keras": "1.0"}})
    capfd.readouterr()
    assert run(tmp_path, GRID) == 0
    printed = capfd.readouterr().out
    assert "1 of these runs were made by other code: seed=0 (keras 1.0 then" in printed
    assert "run.fresh=true" in printed
