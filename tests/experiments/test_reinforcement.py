"""Experiments of meta-reinforcement learning: the published results."""

import json

import numpy as np
import pytest

from tests.experiments.small_runs import run


def returns(runs, name):
    """The mean returns by inner step of each run, ``[R, K+1]``."""
    paths = sorted((runs / name).glob("*/evaluation.json"))
    return np.array([json.loads(path.read_text())["metrics"]["return"]["mean"] for path in paths])


@pytest.mark.slow
def test_navigation_adapts_in_one_step(tmp_path):
    """The mean return after one step is at least -3.5; before it, each of three seeds is below -7."""
    for seed in (0, 1, 2):
        options = [f"seed={seed}", "evaluation.seed=3", "evaluation.tasks=200", "tracking=none"]
        assert run(tmp_path, ["experiment=rl/navigation", *options], quick=False) == 0
    found = returns(tmp_path, "rl_navigation")
    assert found.shape[0] == 3
    assert found[:, 1].mean() >= -3.5
    assert found[:, 0].max() < -7


@pytest.mark.slow
def test_learned_discounts_fall(tmp_path):
    """The learned discount falls from 0.95 to below 0.93, and the return rises by more than 7.

    0.95 is too large for processes that mix within a few steps.
    """
    options = ["tracking=none", "evaluation.tasks=20"]
    assert run(tmp_path, ["experiment=rl/metagradient", *options], quick=False) == 0
    (path,) = (tmp_path / "rl_metagradient").glob("*/evaluation.json")
    metrics = json.loads(path.read_text())["metrics"]
    assert metrics["discount"]["mean"][0] < 0.93
    assert metrics["return"]["mean"][-1] > metrics["return"]["mean"][0] + 7
