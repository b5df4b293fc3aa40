"""A search: its choices do not depend on interruptions, and bad runs are pruned."""

import json

import numpy as np
import optuna
import pytest
from hydra.core.config_store import ConfigStore

from experiments.harness.sweeps import search
from experiments.harness.sweeps.execution import Results
from experiments.harness.sweeps.study import stored
from tests.experiments.small_runs import pretend as leave
from tests.experiments.small_runs import run
from tests.experiments.sweeps.commands import SMALL, sweep_of

SEARCH = ["-m", "hydra/sweeper=optuna", *SMALL, "training.iterations=20"]

RATE = "rule.learning_rate=tag(log,interval(1e-3,0.1))"


def study_of(runs):
    (place,) = (runs / "sweeps").iterdir()
    return optuna.load_study(study_name=place.name, storage=stored(place))


def pretend(stop_before=None):
    """Return a mock of the execution of jobs: the loss is (log10(rate) + 2)^2; it stops at a trial."""

    def execute(setting, jobs):
        for job in jobs:
            if job.trial == stop_before:
                return Results({}, {}, {}, interrupted=True, broken=False)
            (rate,) = [float(line.partition("=")[2]) for line in job.overrides if "learning_rate" in line]
            status = "complete" if rate < 0.05 else "failed"
            loss = (np.log10(rate) + 2) ** 2
            made = {"seed": 0, **job.afterwards}
            leave(job.run, made, status=status, validation_loss=loss, diverged=rate >= 0.05)
        return Results({}, {}, {}, interrupted=False, broken=False)

    return execute


def trials(runs):
    return [(trial.params, trial.value, trial.state) for trial in study_of(runs).trials]


@pytest.mark.usefixtures("unbuilt")
def test_it_chooses_the_same_wherever_it_was_stopped(tmp_path, monkeypatch):
    """A search that is stopped within a batch and resumed makes the same choices as without a stop.

    It has eight trials, two at a time, chosen by TPE after the first three.
    """
    sampler = ["+hydra.sweeper.sampler.n_startup_trials=3", "hydra.sweeper.parallel=2"]
    arguments = [*SEARCH, RATE, *sampler]
    monkeypatch.setattr(search, "execute", pretend())
    assert run(tmp_path / "whole", [*arguments, "hydra.sweeper.trials=8"]) == 0
    monkeypatch.setattr(search, "execute", pretend(stop_before=5))
    assert run(tmp_path / "parts", [*arguments, "hydra.sweeper.trials=7"]) == 130
    assert len(study_of(tmp_path / "parts").trials) == 6
    monkeypatch.setattr(search, "execute", pretend())
    assert run(tmp_path / "parts", [*arguments, "hydra.sweeper.trials=8"]) == 0
    assert trials(tmp_path / "parts") == trials(tmp_path / "whole")
    assert len({str(params) for params, _, _ in trials(tmp_path / "whole")}) == 8
    diverged = [value for params, value, _ in trials(tmp_path / "whole") if max(params.values()) >= 0.05]
    assert diverged
    assert np.isinf(diverged).all()


@pytest.mark.slow
def test_runs_worse_than_others_are_pruned(tmp_path, capfd):
    """Runs whose validation loss is worse than the median are pruned, as their manifests say.

    The runs are real ones, and the median is that of the first trial for the second.
    """
    pruner = ["+hydra.sweeper.pruner.n_startup_trials=1", "hydra.sweeper.sampler.name=RandomSampler"]
    arguments = [
        *SEARCH,
        "hydra.sweeper.trials=3",
        "optimizer.learning_rate=tag(log,interval(1e-4,0.1))",
        *pruner,
    ]
    assert run(tmp_path, arguments) == 0
    found = study_of(tmp_path).trials
    states = [trial.state.name for trial in found]
    assert states[0] == "COMPLETE"
    assert "PRUNED" in states
    assert sorted(found[0].intermediate_values) == list(range(2, 20, 2))
    for trial, job in zip(found, sweep_of(tmp_path), strict=True):
        manifest = json.loads(job.run.manifest.read_text())
        assert manifest["status"] == trial.state.name.lower()
        assert job.run.evaluation.exists() == (trial.state.name == "COMPLETE")
        if trial.state.name == "COMPLETE":
            assert trial.value == manifest["validation_loss"]
    printed = capfd.readouterr().out
    assert "optuna-dashboard sqlite:///" in printed
    assert run(tmp_path, arguments) == 0
    assert "complete now" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["nothing to search", "interval"]),
        ([RATE, "hydra.sweeper.trials=0"], ["hydra.sweeper.trials", "0"]),
        (
            [RATE, "hydra.sweeper.sampler.name=TPESample"],
            ["hydra.sweeper.sampler.name=TPESample", "TPESampler"],
        ),
        ([RATE, "+hydra.sweeper.sampler.sead=1"], ["hydra.sweeper.sampler", "sead"]),
        ([RATE, "hydra.sweeper.pruner.name=None"], ["hydra.sweeper.pruner.name"]),
        (["rule.learning_rate=interval(1,0.1)"], ["nothing to choose from"]),
        (["task.shots=range(5,5)"], ["task.shots=range(5,5) gives nothing to choose from: it is empty"]),
        (["task.shots=range(1,5,0)"], ["nothing to choose from"]),
        ([RATE, "hydra.sweeper.parallel=10000000000"], ["hydra.sweeper.parallel=10000000000", "1000"]),
        ([RATE, "hydra.sweeper.trials=1000000000000"], ["hydra.sweeper.trials=1000000000000", "100000"]),
        (["rule.learning_rate=interval(0,inf)"], ["rule.learning_rate=interval(0,inf)", "not finite"]),
        (["rule.learning_rate=range(0,1,1e-300)"], ["more numbers than float64 can distinguish"]),
        ([RATE, "evaluation.seed=2"], ["validation.seed=2"]),
    ],
)
def test_bad_input_is_said_before_any_trial_starts(tmp_path, capfd, arguments, named):
    assert run(tmp_path, [*SEARCH, *arguments]) == 2
    captured = capfd.readouterr()
    assert all(word in captured.err for word in named), captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "sinusoid").exists()


def test_a_page_of_another_package_with_the_same_name_is_ignored(tmp_path, capfd):
    """Searches work where ``hydra-optuna-sweeper`` is installed, whose page Hydra would merge with ours."""
    node = {"defaults": [{"sampler": "tpe"}], "_target_": "of.another.package"}
    ConfigStore.instance().store("optuna", node, "hydra/sweeper", provider="optuna_sweeper")
    assert run(tmp_path, [*SEARCH]) == 2
    assert "nothing to search" in capfd.readouterr().err
