"""Figures of navigation trajectories."""

from __future__ import annotations

import dataclasses

import numpy as np

import metalearn as ml
from experiments.harness.figures import trajectories
from tests.experiments.figures.drawn import assert_no_text_is_cut_or_covered, lines, png

TASKS = ml.tasks.Rollouts(ml.tasks.environments.Navigation(), trajectories=4, horizon=5, batches=1)


def test_they_are_the_policys() -> None:
    """Positions equal those of a linear policy in NumPy, before adaptation and after one inner step."""
    model = ml.models.mlp(2, (), 2)
    learner = ml.problems.policy(TASKS.environment, model, ml.rules.sgd(0.05), deviation=0.3)
    # One task after the other is quicker to trace.
    learner = dataclasses.replace(learner, problem=dataclasses.replace(learner.problem, mapping="sequential"))
    meta = learner.initialize(1)
    found = trajectories.trajectories(learner, meta, TASKS, lambda: model, 0.3)
    assert found is not None
    task = TASKS.sample((2, -1), trajectories.SHOWN)
    np.testing.assert_array_equal(found.goals, task.query.task["goal"])
    noise = task.query.noise.action.numpy()
    for step in (0, 1):
        theta = learner.adapt(meta, task, step)[0].parameters
        kernel, bias = (theta[f"output/{name}"].numpy() for name in ("kernel", "bias"))
        position = np.zeros((trajectories.SHOWN, 4, 2))
        for time in range(5):
            np.testing.assert_allclose(found.positions[step][:, :, time], position, atol=1e-5)
            action = position @ kernel + bias[:, None] + 0.3 * noise[:, :, time]
            position = position + np.clip(0.1 * action, -0.1, 0.1)
    assert (found.positions[0][:, :, 2] != found.positions[1][:, :, 2]).any()


def test_other_learners_have_none() -> None:
    model = ml.models.mlp(1, (), 1)
    bandits = ml.tasks.Rollouts(ml.tasks.environments.Bandit())
    learner = ml.problems.policy(bandits.environment, model, ml.rules.sgd(0.1))
    for tasks in (bandits, ml.tasks.Sinusoid()):
        assert trajectories.trajectories(learner, {}, tasks, lambda: model, 0.3) is None


def test_goals_and_paths_are_drawn() -> None:
    goals = np.array([[0.1, 0.2], [-0.3, 0.4]])
    positions = {step: np.arange(2 * 3 * 4 * 2.0).reshape(2, 3, 4, 2) + step for step in (0, 1)}
    figure = trajectories.draw(trajectories.Paths(goals, positions))
    drawn = lines(figure, 1)
    assert {*drawn} >= {"after 0 inner steps", "after 1 inner step", "goal"}
    np.testing.assert_array_equal(drawn["after 1 inner step"].get_xydata(), positions[1][1, 0])
    np.testing.assert_array_equal(drawn["goal"].get_xydata(), goals[1:])
    assert_no_text_is_cut_or_covered(figure)
    assert png(figure).startswith(b"\x89PNG")
