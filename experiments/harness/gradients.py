"""Every estimator of a configuration, held to a float64 reference that is held to finite differences."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from omegaconf import OmegaConf

from experiments.harness.build import build_learner, build_tasks
from experiments.harness.cli import CONFIGS, UsageError
from metalearn.derivatives import central_differences
from metalearn.estimators.protocol import as_estimator
from metalearn.types import Meta, Structure, Task

Config = dict[str, Any]

EXACT = 1e-9
"""Relative error that an exact estimator may have in float64."""

DIFFERENCES = 1e-6
"""Error that the reference may have against finite differences, relative to its own length."""

DIRECTIONS, ATTEMPTS = 3, 30
"""Random directions of the differences; and how many to try, as those that cross a kink prove nothing."""

EPSILON = 1e-6
"""Step of the differences: small, for every unit of a network that switches within it is a kink."""

CALLS = 20
"""Timed calls, of which the median counts."""


class Row(NamedTuple):
    """What was found of an estimator.

    Attributes:
        name: of the estimator.
        exact: whether it promises the exact gradient.
        error: relative error of its gradient in float64, ``|g - reference| / |reference|``.
        cosine: between its gradient and the reference.
        rounding: relative error of the program as configured, in the configured type.
        milliseconds: of one meta-gradient of a meta-batch, as configured.
        compile_seconds: of the first call, less one later call.
    """

    name: str
    exact: bool
    error: float
    cosine: float
    rounding: float
    milliseconds: float
    compile_seconds: float

    @property
    def passed(self) -> bool:
        """Whether it is what it promises to be."""
        return self.error <= EXACT if self.exact else bool(np.isfinite(self.error))


class Audit(NamedTuple):
    """What was found of a configuration.

    Attributes:
        difference: largest error of the reference against finite differences, relative to its length.
        directions: that differences were taken along, no kink between.
        rows: estimators that apply.
        refused: those that do not, and why.
    """

    difference: float
    directions: int
    rows: list[Row]
    refused: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether the reference and all exact estimators are right."""
        return self.directions > 0 and self.difference <= DIFFERENCES and all(row.passed for row in self.rows)


def audit(config: Config) -> Audit:
    """Compare all estimators on a configuration's learner, at its initial meta-parameters."""
    double = {**config, "model": {**config["model"], "dtype": "float64"}}
    reference = build_learner({**double, "estimator": {"_target_": "metalearn.estimators.unrolled"}})
    meta = reference.initialize(config["seed"])
    tasks = build_tasks(config).sample((config["seed"], 0), config["training"]["meta_batch_size"])
    reference.require_fit(tasks)
    value = tf.function(reference.meta_gradient, autograph=False)
    exact = _flat(value(meta, _cast(tasks, tf.float64)).gradient)
    difference, directions = _against_differences(value, meta, _cast(tasks, tf.float64), exact)
    rows, refused = [], {}
    for name, estimator in estimators(config).items():
        try:
            rows.append(_row(name, {**config, "estimator": estimator}, double, meta, tasks, exact))
        except (ValueError, UsageError) as error:
            refused[name] = str(error).removeprefix("learner: ")
    return Audit(difference, directions, rows, refused)


def estimators(config: Config) -> dict[str, Config]:
    """Return the configuration of each estimator in ``conf/estimator``, the chosen one as it is chosen."""
    known = {
        path.stem: OmegaConf.to_container(OmegaConf.load(path))
        for path in sorted((CONFIGS / "estimator").glob("*.yaml"))
    }
    return {**known, config["estimator"]["_target_"].rpartition(".")[2]: config["estimator"]}


def _row(name: str, config: Config, double: Config, meta: Meta, tasks: Task, exact: np.ndarray) -> Row:
    learner = build_learner({**double, "estimator": config["estimator"]})
    result = tf.function(learner.meta_gradient, autograph=False)(meta, _cast(tasks, tf.float64))
    found = _flat(result.gradient)
    rounded, milliseconds, compile_seconds = _as_configured(config, meta, tasks)
    return Row(
        name=name,
        exact=as_estimator(learner.estimator).exact,
        error=_relative(found, exact),
        cosine=float(found @ exact / (np.linalg.norm(found) * np.linalg.norm(exact))),
        rounding=_relative(rounded, exact),
        milliseconds=milliseconds,
        compile_seconds=compile_seconds,
    )


def _as_configured(config: Config, meta: Meta, tasks: Task) -> tuple[np.ndarray, float, float]:
    """Return the gradient of the program that trains, its time in milliseconds and its compile time."""
    learner = build_learner(config)
    program = tf.function(
        lambda meta, tasks: learner.meta_gradient(meta, tasks).gradient,
        jit_compile=learner.jit_compile_advised,
        autograph=False,
    )
    as_trained = learner.initialize(config["seed"])
    meta = tf.nest.map_structure(lambda leaf, like: tf.cast(leaf, like.dtype), meta, as_trained)

    def timed() -> tuple[Meta, float]:
        start = time.perf_counter()
        gradient = tf.nest.map_structure(lambda leaf: leaf.numpy(), program(meta, tasks))
        return gradient, time.perf_counter() - start

    gradient, first = timed()
    later = float(np.median([timed()[1] for _ in range(CALLS)]))
    return _flat(gradient), 1000 * later, first - later


def _against_differences(value: Any, meta: Meta, tasks: Task, exact: np.ndarray) -> tuple[float, int]:
    """Return the largest error relative to the gradient's length, and the number of directions."""
    random = np.random.default_rng(0)
    leaves, length = tf.nest.flatten(meta), float(np.linalg.norm(exact))
    errors: list[float] = []
    for _ in range(ATTEMPTS):
        if len(errors) == DIRECTIONS:
            break
        along = random.normal(size=exact.shape)
        along /= np.linalg.norm(along)
        parts = np.split(along, np.cumsum([leaf.shape.num_elements() for leaf in leaves])[:-1])
        direction = tf.nest.pack_sequence_as(
            meta, [tf.constant(part.reshape(leaf.shape)) for part, leaf in zip(parts, leaves, strict=True)]
        )
        numeric, uncertainty = central_differences(
            lambda meta: tf.reduce_mean(value(meta, tasks).loss), meta, direction, EPSILON
        )
        if float(uncertainty) <= DIFFERENCES * length:
            errors.append(abs(float(numeric) - float(exact @ along)) / length)
    return max(errors, default=float("nan")), len(errors)


def _cast(structure: Structure, dtype: tf.DType) -> Structure:
    return tf.nest.map_structure(lambda leaf: tf.cast(leaf, dtype), structure)


def _flat(gradient: Meta) -> np.ndarray:
    leaves = [np.ravel(leaf) for leaf in tf.nest.flatten(gradient)]
    return np.concatenate(leaves).astype(np.float64)


def _relative(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
