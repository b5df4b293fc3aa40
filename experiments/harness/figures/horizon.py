"""Diagnoses of long inner loops: growth of cotangents, and the variance of estimates at equal cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from metalearn import Learner, diagnostics, estimators
from metalearn.sources import Source
from metalearn.sources.protocol import is_constant
from metalearn.types import Meta

from .axes import FRESH, LEGEND, look, tidy

TASKS, CALLS = 8, 50

SIGMA, PAIRS = 0.1, 10
"""Settings of the evolution strategies with which exact derivatives are compared."""


class Horizon(NamedTuple):
    """The data of :func:`draw`.

    Attributes:
        growth: the norms of the cotangent at theta_0, ..., theta_K, ``[T, K+1]``, by the name of phi.
        estimates: variance times cost, and distance of the mean from that of the first estimator, by name.
    """

    growth: dict[str, np.ndarray]
    estimates: dict[str, tuple[float, float]]


def measured(learner: Learner, metas: Mapping[str, Meta], tasks: Source) -> Horizon:
    """Diagnose the inner loops of held-out tasks.

    Args:
        learner: a learner of any problem.
        metas: meta-parameters by name; estimates are compared at the last ones.
        tasks: the tasks of the evaluation.
    """
    drawn, growth = tasks.sample(FRESH, 1 if is_constant(tasks) else TASKS), {}
    for name, meta in metas.items():
        problem, phi, posed = learner.posed(meta, drawn, (FRESH[0], 0))
        grown = tf.function(diagnostics.cotangent_growth, autograph=False)
        growth[name] = grown(problem, phi, posed).numpy()
    one = tf.nest.map_structure(lambda leaf: leaf[:1], posed)
    # In inner steps: a reverse pass takes each step twice, and back, which is as much again as both.
    steps, half = problem.steps, problem.steps // 2
    known: dict[str, tuple[estimators.Estimator, float]] = {
        "exact": (estimators.checkpointed(), 4 * steps),
        "evolution": (estimators.evolution(SIGMA, PAIRS), 2 * PAIRS * steps),
    }
    if half:
        known[f"last {half} steps alone"] = (estimators.truncated(half), steps + 3 * half)
    compared = {name: diagnostics.Compared(*each) for name, each in known.items()}
    varied = tf.function(diagnostics.variance_at_equal_cost, autograph=False)
    found = varied(problem, phi, one, compared, CALLS)
    estimates = {
        name: (float(found[f"variance/{name}"]), float(found[f"distance/{name}"])) for name in compared
    }
    return Horizon(growth, estimates)


def draw(shown: Horizon) -> Figure:
    """Draw the growth of cotangents against inner steps, and bars of variance and distance by estimator."""
    figure = Figure(figsize=(12.6, 4.2), layout="constrained")
    left, *panels = figure.subplots(1, 3, width_ratios=[1.5, 1, 1])
    for index, (name, norms) in enumerate(shown.growth.items()):
        for norm in norms:
            left.plot(norm, alpha=0.35, lw=1, **look(index))
        left.plot(np.median(norms, 0), lw=2.2, label=f"{name}, median", **look(index))
    left.set_yscale("log")
    left.legend(**LEGEND)
    tidy(left, "Derivative of the loss by inner step", "inner step", f"Euclidean norm, T = {len(norms)}")
    titles = "Variance x inner steps", "Distance from exact"
    for panel, title, values in zip(panels, titles, zip(*shown.estimates.values(), strict=True), strict=True):
        bars = panel.barh(list(shown.estimates), values, color=look(0)["color"])
        panel.bar_label(bars, fmt="%.2g", padding=3)
        panel.margins(x=0.25)
        tidy(panel, title, f"{CALLS} calls, {PAIRS} pairs, sigma {SIGMA}")
        panel.set_xticks([])  # the bars have their numbers
        panel.invert_yaxis()
    return figure
