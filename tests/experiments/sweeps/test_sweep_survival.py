"""Sweeps that are killed with all their processes: the same command completes them with equal bits."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.experiments.sweeps.commands import complete, contents, finished, killed_after, start

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
    """A sweep of twelve jobs that is killed five times has the bits of one that is not.

    Complete jobs are not run again.
    """
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


def workers_of(leader):
    """Return processes of joblib that a sweep has started: it runs a job in each."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words, group = (place / "cmdline").read_bytes(), os.getpgid(int(place.name))
        except OSError:
            continue
        if group == leader and b"loky.backend.popen_loky" in words:
            found.append(int(place.name))
    return found


@pytest.mark.slow
def test_one_worker_that_is_killed_ends_no_other_job(tmp_path):
    """If one of two workers is killed, all four jobs are completed, those in progress from checkpoints."""
    arguments = ["seed=0,1,2,3", "training.iterations=20000", "hydra/launcher=joblib"]
    with start(tmp_path, arguments) as started:
        while len(list(tmp_path.glob("sinusoid/*/checkpoints/*.npz"))) < 2 and started.poll() is None:
            time.sleep(0.1)
        os.kill(random.Random(0).choice(workers_of(started.pid)), signal.SIGKILL)
        assert started.wait(timeout=600) == 0
    printed = (tmp_path / "printed").read_text()
    assert "the launcher failed: " in printed
    assert "4 jobs: 4 complete now" in printed
    assert len(complete(tmp_path)) == 4
