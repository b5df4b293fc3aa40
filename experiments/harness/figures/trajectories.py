"""Trajectories of a policy in the plane, before and after adaptation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

import metalearn as ml
from metalearn.nn import functional
from metalearn.problems.applications.rollout import Gaussian, rollout
from metalearn.sources import Source
from metalearn.types import Meta

from .axes import BLUE, FRESH, GREY, STEPS, VERMILLION

SHOWN = 3
"""Number of tasks in the figure."""


class Paths(NamedTuple):
    """The data of the figure for some navigation tasks.

    Attributes:
        goals: ``[T, 2]``.
        positions: of trajectories after so many inner steps, on the same noise, each ``[T, N, H, 2]``.
    """

    goals: np.ndarray
    positions: dict[int, np.ndarray]


def trajectories(
    learner: ml.Learner,
    meta: Meta,
    tasks: Source,
    make_model: Callable[[], keras.Model],
    deviation: float,
) -> Paths | None:
    """Return trajectories of a policy in tasks that are not used in training, or None without navigation.

    Args:
        learner: the trained learner, see :func:`metalearn.problems.policy`.
        meta: trained meta-parameters.
        tasks: the tasks of the evaluation.
        make_model: returns the policy's model.
        deviation: the standard deviation of its actions.
    """
    if not isinstance(tasks, ml.tasks.Rollouts):
        return None
    environment = tasks.environment
    if not isinstance(environment, ml.tasks.environments.Navigation) or not isinstance(
        learner, ml.BilevelLearner
    ):
        return None
    drawn = tasks.sample(FRESH, SHOWN)
    network = functools.partial(functional.apply, make_model())
    positions = {}
    for count in STEPS:
        inner, _ = learner.adapt(meta, drawn, count)
        paths = []
        for task in range(SHOWN):
            theta, episodes = tf.nest.map_structure(
                lambda leaf, task=task: leaf[task], (inner.parameters, drawn.query)
            )
            policy = functools.partial(network, theta)
            found = rollout(environment, policy, Gaussian(deviation), episodes, differentiated=False)
            paths.append(found.observations.numpy())
        positions[count] = np.stack(paths)
    return Paths(drawn.query.task["goal"].numpy(), positions)


def draw(shown: Paths) -> Figure:
    """Draw a panel for each task: the goal, and trajectories after each number of inner steps in a colour."""
    figure = Figure(figsize=(3 * len(shown.goals), 4), layout="constrained")
    panels = figure.subplots(1, len(shown.goals), sharex=True, sharey=True, squeeze=False)[0]
    for task, (axes, goal) in enumerate(zip(panels, shown.goals, strict=True)):
        for (step, positions), color in zip(shown.positions.items(), (GREY, BLUE, "black"), strict=False):
            label = f"after {step} inner step{'s' * (step != 1)}"
            lines = axes.plot(*positions[task].transpose(2, 1, 0), color=color, alpha=0.5, lw=0.9)
            lines[0].set_label(label)
        axes.plot(*goal, marker="*", ms=14, color=VERMILLION, ls="", label="goal", zorder=3, clip_on=False)
        axes.set_title(f"task {task}", fontsize=11)
        axes.set_aspect("equal")
        axes.grid(alpha=0.3)
    count = next(iter(shown.positions.values())).shape[1]
    figure.suptitle(f"{count} trajectories from the origin in held-out tasks", fontsize=11)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure
