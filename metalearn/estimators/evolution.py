"""Evolution strategies: the meta-gradient from values of the meta-loss alone."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from metalearn.checks import require_count, require_positive
from metalearn.estimators.protocol import Estimator, average
from metalearn.execution.layout import Each, run
from metalearn.execution.loops import fold
from metalearn.problems.bilevel import BilevelProblem, Inner, inner_start, inner_step
from metalearn.types import Meta, MetaGradient, Parameters, Seed, Structure, Task

STREAM = 0x65766F6C
"""Folded into the seed, so that tasks sampled from the same two integers are independent of the noise."""


def evolution(sigma: float, pairs: int) -> Estimator:
    """Return the antithetic estimator of the gradient of the smoothed meta-loss, by all of phi.

    ::

        1/(2 sigma n) sum_{i=1}^{n} (L(phi + sigma e_i) - L(phi - sigma e_i)) e_i,      e_i ~ N(0, I)

    for every task, with noise of its own, where ``L(phi) = outer_loss(theta_K(phi), phi, query)``. Its
    expectation is the gradient of ``E L(phi + sigma e)``, which for a quadratic L is the gradient of L.
    Only values are needed: outer loss, rule and initialisation need not be differentiable, and a leaf that
    nothing depends on goes unnoticed. The variance grows with the number of scalars in phi and falls as
    1/n and with the tasks; the cost is 2n + 1 runs of the inner loop, the memory that of two.

    A call takes the seed: ``estimator(problem, meta, tasks, seed=(run, iteration))``.

    Args:
        sigma: standard deviation of the perturbations, positive: large against rounding
            (``sigma^2`` against eps of the type), small against the scale on which L curves.
        pairs: n, antithetic pairs of each task, at least 1.

    Raises:
        ValueError: if ``sigma`` is not positive or ``pairs`` not a positive integer.

    Reference: Song et al. (2020), "ES-MAML: Simple Hessian-Free Meta Learning", the zero-order algorithm
    with gradient descent as its adaptation; Salimans et al. (2017), "Evolution Strategies as a Scalable
    Alternative to Reinforcement Learning", section 2 (antithetic sampling).
    """
    require_positive("sigma", sigma)
    require_count("pairs", pairs)

    def estimate(problem: BilevelProblem, meta: Meta, tasks: Task, *, seed: Seed) -> MetaGradient:
        count = tf.nest.flatten(tasks)[0].shape[0]
        around = tf.nest.map_structure(lambda leaf: tf.repeat(leaf[None], count, 0), meta)
        twice = tf.nest.map_structure(lambda leaf: tf.concat([leaf, leaf], 0), tasks)

        def add_pair(total: Meta, index: Any) -> Meta:
            noise = perturbation(meta, count, seed, index)
            both = tf.nest.map_structure(
                lambda leaf, e: tf.concat([leaf + sigma * e, leaf - sigma * e], 0), around, noise
            )
            plus, minus = tf.split(_meta_losses(problem, both, twice)[0], 2)
            slope = (plus - minus) / (2 * sigma * pairs)
            return tf.nest.map_structure(
                lambda sum_, e: (
                    sum_ + tf.reshape(tf.cast(slope, e.dtype), [count] + [1] * (e.shape.rank - 1)) * e
                ),
                total,
                noise,
            )

        zeros = tf.nest.map_structure(tf.zeros_like, around)
        gradients = fold(add_pair, zeros, pairs, in_graph=True)
        losses, adapted = _meta_losses(problem, around, tasks)
        return average(losses, gradients, adapted)

    return Estimator(estimate, seeded=True, second_order=False)


def perturbation(meta: Meta, tasks: int, seed: Seed, pair: int | tf.Tensor) -> Structure:
    """Return the noise ``e_i`` of each task, ``[T, ...]`` for every leaf of phi: standard normal.

    Args:
        meta: phi.
        tasks: T.
        seed: of the call.
        pair: i, from 0.
    """
    own = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), STREAM, alg="philox")
    own = tf.random.experimental.stateless_fold_in(own, pair, alg="philox")
    leaves = tf.nest.flatten(meta)
    sizes = [leaf.shape.num_elements() for leaf in leaves]
    dtype = tf.float64 if any(leaf.dtype == tf.float64 for leaf in leaves) else tf.float32
    parts = tf.split(_standard_normal(tasks, sum(sizes), own, dtype), sizes, axis=1)
    noise = [
        tf.cast(tf.reshape(part, [tasks, *leaf.shape]), leaf.dtype)
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return tf.nest.pack_sequence_as(meta, noise)


def _standard_normal(tasks: int, size: int, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return ``[T, size]`` by Box and Muller's transform.

    TensorFlow's kernels and XLA draw the same bits from a seed, but make different normals of them.
    """
    half = (size + 1) // 2
    bits = tf.random.stateless_uniform([2, tasks, half], seed, None, None, tf.uint32, alg="philox")
    # In (0, 1), of which a float32 holds 23 bits.
    fractions = (tf.cast(tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32)), dtype) + 0.5) * 2.0**-23
    radius, angle = tf.sqrt(-2 * tf.math.log(fractions[0])), 2 * math.pi * fractions[1]
    return tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=1)[:, :size]


def _meta_losses(problem: BilevelProblem, metas: Meta, tasks: Task) -> tuple[tf.Tensor, Parameters]:
    """Return ``L(phi)`` and theta_K of each task, at a phi ``[T, ...]`` of its own."""

    def program(each: Each, in_graph: bool, metas: Meta, tasks: Task) -> tuple[tf.Tensor, Parameters]:
        def step(inner: Inner, step: Any) -> Inner:
            return each(
                lambda inner, meta, support: inner_step(problem, inner, meta, support, step),
                inner,
                metas,
                tasks.support,
            )

        start = each(lambda meta, support: inner_start(problem, meta, support), metas, tasks.support)
        last = fold(step, start, problem.steps, in_graph=in_graph)
        loss = each(
            lambda last, meta, query: problem.outer_loss(last[0], meta, query), last, metas, tasks.query
        )
        return loss, last[0]

    return run(problem, program, metas, tasks)
