"""Sweeps that are killed with all their processes: the same command ends them with equal bits."""

import random

import pytest

from tests.experiments.sweeps.commands import complete, contents, finished, killed_after

GRID = ["algorithm=maml,fomaml", "seed=0,1,2,3,4,5", "training.iterations=2000"]

SEARCH = ["hydra/sweeper=optuna", "hydra.sweeper.trials=12", "rule.learning_rate=tag(log,interval(1e-3,0.1))"]
SEARCH += [
    "learner.steps=range(1,3)",
    "training.iterations=2000",
    "+hydra.sweeper.sampler.n_startup_trials=3",
]

SWEEPS = {"basic": GRID, "joblib": [*GRID, "hydra/launcher=joblib"], "optuna": SEARCH}


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_killed_at_five_moments_it_ends_as_if_it_was_not(tmp_path, name):
    """Twelve jobs; what was complete is not touched again."""
    arguments = SWEEPS[name]
    finished(tmp_path / "whole", arguments)
    moments, runs, seen = random.Random(0), tmp_path / "killed", {}
    for ended in (0, 1, 1, 2, 1):
        killed_after(runs, arguments, ended, moments.uniform(0, 3))
        now = complete(runs)
        assert now | seen == now
        seen = now
    assert 5 <= len(seen) < 12
    printed = finished(runs, arguments)
    assert "12 jobs: " in printed
    assert "complete before" in printed
    assert complete(runs) | seen == complete(runs)
    assert contents(runs) == contents(tmp_path / "whole")
    again = finished(runs, arguments)
    assert "complete now" not in again
