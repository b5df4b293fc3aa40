"""All estimators for a configuration, compared with a float64 reference, and that with finite differences."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from omegaconf import OmegaConf
from rich.table import Table

import metalearn as ml
from metalearn.autodiff import central_differences
from metalearn.estimators import Estimator
from metalearn.execution.compiled import Compiled
from metalearn.nest import flat, ravel
from metalearn.types import Meta, Task

from ..harness.config.build import build, build_learner, build_tasks
from ..harness.config.trust import CONFIGS
from ..harness.errors import UsageError
from ..harness.runs.identity import Config
from .audit.measure import computing_in

REFERENCE: Config = {"_target_": "metalearn.estimators.unrolled"}
"""The reference: nested tapes."""

EXACT = 1e-9
"""Largest relative error of an exact estimator in float64."""

DIFFERENCES = 1e-6
"""Largest error of the reference compared with finite differences, relative to its norm."""

DIRECTIONS, ATTEMPTS = 3, 30
"""Random directions of the differences; and how many are tried, as those that cross a kink are discarded."""

EPSILON = 1e-6
"""Step of the differences: small, because every unit of a network that switches within it is a kink."""

CALLS = 5
"""Timed calls, whose median is reported."""

TWICE = ("mixed_mode", "frozen", "annealed")
"""Excluded estimators: an alias of checkpointed, one that is zero, and one that combines two others."""


class Row(NamedTuple):
    """The results for an estimator, in float64.

    Attributes:
        name: the name of the estimator.
        exact: whether it is declared exact.
        error: the relative error of its gradient, ``|g - reference| / |reference|``.
        cosine: between its gradient and the reference.
        milliseconds: the time of one compiled meta-gradient of a meta-batch.
        compile_seconds: the time of the first call, minus that of a later one.
    """

    name: str
    exact: bool
    error: float
    cosine: float
    milliseconds: float
    compile_seconds: float

    @property
    def passed(self) -> bool:
        """Whether the estimator is exact if it is declared exact."""
        return self.error <= EXACT if self.exact else bool(np.isfinite(self.error))


class Audit(NamedTuple):
    """The results for a configuration.

    Attributes:
        difference: largest error of the reference against finite differences, relative to its length.
        directions: the number of directions of differences without a kink.
        rows: the estimators that apply.
        refused: the others, with the reason.
    """

    difference: float
    directions: int
    rows: list[Row]
    refused: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether the reference and all exact estimators are correct."""
        return self.directions > 0 and self.difference <= DIFFERENCES and all(row.passed for row in self.rows)


def audit(config: Config) -> Audit:
    """Compare all estimators on a configuration's learner, at its initial meta-parameters."""
    learner = _in_double(config)
    reference = _Program(learner, build(REFERENCE, "estimator"))
    meta = reference.learner.initialize(config["seed"])
    drawn = build_tasks(config).sample((config["seed"], 0), config["training"]["meta_batch_size"])
    tasks = tf.nest.map_structure(_doubled, drawn)
    reference.learner.require_fit(tasks)
    exact, *times = reference.timed(meta, tasks)
    difference, directions = _against_differences(reference.loss, meta, tasks, exact)
    rows, refused = [], {}
    for name, estimator in estimators(config).items():
        try:
            if estimator == REFERENCE:
                rows.append(_row(name, reference, exact, exact, *times))
                continue
            program = _Program(learner, build(estimator, "estimator", config.get("packages", ())))
            rows.append(_row(name, program, exact, *program.timed(meta, tasks)))
        except (ValueError, UsageError) as error:
            refused[name] = str(error)
    return Audit(difference, directions, rows, refused)


def estimators(config: Config) -> dict[str, Config]:
    """Return the configuration of each estimator in ``conf/estimator``; the chosen one keeps its settings."""
    known: dict[str, Any] = {
        path.stem: OmegaConf.to_container(OmegaConf.load(path))
        for path in sorted((CONFIGS / "estimator").glob("*.yaml"))
        if path.stem not in TWICE
    }
    if not config.get("problem"):
        known[config["estimator"]["_target_"].rpartition(".")[2]] = config["estimator"]
    return known


def _in_double(config: Config) -> ml.Learner:
    """Return the learner of a configuration with the reference estimator, built with Keras' type float64.

    Raises:
        UsageError: if it cannot be built, or makes numbers of another type.
    """
    with computing_in("float64"):
        learner = build_learner({**config, "estimator": REFERENCE})
    others = {leaf.dtype.name for leaf in tf.nest.flatten(learner.initialize(0))} - {"float64"}
    if others:
        raise UsageError(
            f"the learner computes in {', '.join(others)}, and gradients are checked in float64: let your "
            "model or problem make its numbers in the type of keras.config.floatx()"
        )
    return learner


def _doubled(leaf: tf.Tensor) -> tf.Tensor:
    return tf.cast(leaf, tf.float64) if leaf.dtype.is_floating else leaf


class _Program:
    """The compiled meta-gradient of a learner with another estimator."""

    def __init__(self, learner: Any, estimator: Estimator) -> None:
        self.learner = dataclasses.replace(learner, estimator=estimator)
        self._call = Compiled(
            lambda meta, tasks: self.learner.meta_gradient(meta, tasks)[:2], self.learner.mapping
        )

    def loss(self, meta: Meta, tasks: Task) -> tf.Tensor:
        """Return the mean meta-loss."""
        return tf.reduce_mean(self._call(meta, tasks)[0])

    def timed(self, meta: Meta, tasks: Task) -> tuple[np.ndarray, float, float]:
        """Return the meta-gradient as a vector, the milliseconds it takes and the seconds of compilation."""

        def call() -> tuple[np.ndarray, float]:
            start = time.perf_counter()
            gradient = flat(self._call(meta, tasks)[1]).numpy()
            return gradient, time.perf_counter() - start

        gradient, first = call()
        later = float(np.median([call()[1] for _ in range(CALLS)]))
        return gradient, 1000 * later, first - later


def _row(name: str, program: _Program, exact: np.ndarray, found: np.ndarray, *times: float) -> Row:
    lengths = np.linalg.norm(found) * np.linalg.norm(exact)
    error = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    cosine = float(found @ exact / max(lengths, 1e-300))
    return Row(name, program.learner.estimator.exact, error, cosine, *times)


def _against_differences(
    loss: Callable[[Meta, Task], tf.Tensor], meta: Meta, tasks: Task, exact: np.ndarray
) -> tuple[float, int]:
    """Return the largest error relative to the gradient's norm, and the number of directions."""
    random = np.random.default_rng(0)
    length, (_, unravel) = float(np.linalg.norm(exact)), ravel(meta)
    errors: list[float] = []
    for _ in range(ATTEMPTS):
        if len(errors) == DIRECTIONS:
            break
        along = random.normal(size=exact.shape)
        along /= np.linalg.norm(along)
        direction = unravel(tf.constant(along))
        numeric, uncertainty = central_differences(lambda meta: loss(meta, tasks), meta, direction, EPSILON)
        if float(uncertainty) <= DIFFERENCES * length:
            errors.append(abs(float(numeric) - float(exact @ along)) / length)
    return max(errors, default=float("nan")), len(errors)


def table(audit: Audit) -> Table:
    """Return the table of estimators against the float64 reference."""
    shown = Table(title="meta-gradient by estimator", title_justify="left", caption_justify="left")
    right = "[green]✓[/]" if audit.difference <= DIFFERENCES else "[red]✗[/]"
    shown.caption = (
        "all in float64; error and cosine against nested tapes; these against finite differences along "
        f"{audit.directions} directions: {audit.difference:.0e} {right}"
    )
    shown.add_column("estimator")
    for heading in ("error", "cosine", "ms", "compile s"):
        shown.add_column(heading, justify="right")
    shown.add_column("verdict")
    for row in audit.rows:
        biased = "biased" if row.error > EXACT else "equal here"
        verdict = ("[green]exact[/]" if row.passed else "[red]OFF[/]") if row.exact else biased
        numbers = f"{row.error:.0e}", f"{row.cosine:.4f}", f"{row.milliseconds:.2f}"
        shown.add_row(row.name, *numbers, f"{row.compile_seconds:.1f}", verdict)
    return shown
