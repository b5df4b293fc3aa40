"""Evolution strategies: the meta-gradient from values of the meta-loss only."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from metalearn.checks import require_count, require_positive
from metalearn.estimators.protocol import Carry, Estimator, average, prepared
from metalearn.execution.layout import Layout, run
from metalearn.execution.loops import fold
from metalearn.inner_loop import inner_start, inner_step, number_of_tasks, outer_loss
from metalearn.random import by_task, fold_in, normal
from metalearn.types import Inner, Meta, MetaGradient, Problem, Seed, Structure, Task

STREAM = 0x65766F6C
"""Folded into the seed, so that the noise is independent of tasks drawn with the same seed."""


@dataclasses.dataclass(frozen=True)
class evolution(Estimator):
    """The antithetic estimator of the gradient of the smoothed meta-loss, with respect to all of phi.

    ::

        1/(2 sigma n) sum_{i=1}^{n} (L(phi + sigma e_i) - L(phi - sigma e_i)) e_i,      e_i ~ N(0, I)

    for every task, with independent noise, where ``L(phi) = outer_loss(theta_K(phi), phi, task)``. Its
    expectation is the gradient of ``E L(phi + sigma e)``, which for a quadratic L is the gradient of L.

    Only values are needed: outer loss, rule and initialisation need not be differentiable, and a leaf on
    which nothing depends is not detected. The variance grows with the number of scalars in phi and decreases
    as 1/n and with the number of tasks; the cost is 2n + 1 runs of the inner loop, the memory that of two.

    Attributes:
        sigma: the standard deviation of the perturbations, positive. It should be large compared with
            rounding (``sigma^2`` with the machine epsilon) and small compared with the scale on which the
            curvature of L changes.
        pairs: n, the number of antithetic pairs of each task, at least 1.

    Raises:
        ValueError: if ``sigma`` is not positive or ``pairs`` is not a positive integer.

    Reference: Song et al. (2020), "ES-MAML: Simple Hessian-Free Meta Learning", the zero-order algorithm
    with gradient descent as the adaptation; Salimans et al. (2017), "Evolution Strategies as a Scalable
    Alternative to Reinforcement Learning", section 2 (antithetic sampling).
    """

    sigma: float
    pairs: int

    second_order = False

    def __post_init__(self) -> None:
        require_positive("sigma", self.sigma)
        require_count("pairs", self.pairs)

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the estimate and an empty carry; see :class:`Estimator`."""
        tasks, sigma = prepared(self, problem, phi, tasks), self.sigma
        count = number_of_tasks(tasks)
        around = tf.nest.map_structure(lambda leaf: tf.repeat(leaf[None], count, 0), phi)
        twice = tf.nest.map_structure(lambda leaf: tf.concat([leaf, leaf], 0), tasks)

        def add_pair(total: Meta, index: Any) -> Meta:
            noise = by_task(lambda tasks: perturbation(phi, tasks, seed, index), count)
            both = tf.nest.map_structure(
                lambda leaf, e: tf.concat([leaf + sigma * e, leaf - sigma * e], 0), around, noise
            )
            plus, minus = tf.split(meta_losses(problem, both, twice)[0], 2)
            slope = (plus - minus) / (2 * sigma * self.pairs)
            return tf.nest.map_structure(
                lambda sum_, e: (
                    sum_ + tf.reshape(tf.cast(slope, e.dtype), [count] + [1] * (e.shape.rank - 1)) * e
                ),
                total,
                noise,
            )

        zeros = tf.nest.map_structure(tf.zeros_like, around)
        gradients = fold(add_pair, zeros, self.pairs, in_graph=True)
        losses, inner, metrics = meta_losses(problem, around, tasks)
        return average(problem, tasks, losses, gradients, inner, metrics), ()


def perturbation(phi: Meta, tasks: int, seed: Seed, pair: int | tf.Tensor) -> Structure:
    """Return the noise ``e_i`` of each task, ``[T, ...]`` for every leaf of phi: standard normal.

    Args:
        phi: the meta-parameters.
        tasks: T.
        seed: the seed of the call.
        pair: i, from 0.
    """
    leaves = tf.nest.flatten(phi)
    sizes = [leaf.shape.num_elements() for leaf in leaves]
    dtype = tf.float64 if any(leaf.dtype == tf.float64 for leaf in leaves) else tf.float32
    parts = tf.split(normal([tasks, sum(sizes)], fold_in(seed, STREAM, pair), dtype), sizes, axis=1)
    noise = [
        tf.cast(tf.reshape(part, [tasks, *leaf.shape]), leaf.dtype)
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return tf.nest.pack_sequence_as(phi, noise)


def meta_losses(problem: Problem, phis: Meta, tasks: Task) -> tuple[tf.Tensor, Inner, dict[str, tf.Tensor]]:
    """Return ``L(phi)``, the last inner state and the metrics of each task, with one phi for each task."""

    def program(layout: Layout, phis: Meta, tasks: Task) -> tuple[Any, ...]:
        def step(inner: Inner, index: Any) -> Inner:
            return layout.each(
                lambda inner, phi, task: inner_step(problem, inner, phi, task, index), inner, phis, tasks
            )

        start = layout.each(lambda phi, task: inner_start(problem, phi, task), phis, tasks)
        last = layout.fold(step, start, problem.steps)
        loss, metrics = layout.each(
            lambda last, phi, task: outer_loss(problem, last.parameters, phi, task, last.model),
            last,
            phis,
            tasks,
        )
        return loss, last, metrics

    return run(problem, program, phis, tasks)
