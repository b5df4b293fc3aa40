"""Persistent evolution strategies: unbiased meta-gradients of long inner loops from short windows."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count, require_positive
from metalearn.estimators.evolution import meta_losses, perturbation
from metalearn.estimators.protocol import Carry, Estimator, average, prepared
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import counted, inner_start, number_of_tasks, numbered
from metalearn.random import by_task
from metalearn.types import Inner, Meta, MetaGradient, Problem, Seed, Structure, Task


class Particles(NamedTuple):
    """The state between windows: 2n + 1 inner loops of each task.

    Attributes:
        inner: leaves ``[(2n + 1) T, ...]``: for all tasks the loop at phi, then the loops at phi plus
            ``sigma e_1, ..., sigma e_n``, then those at phi minus these.
        noise: the sum of the e_i since the start of the loops, ``[n, T, ...]`` for every leaf of phi.
        left: the windows until the restart of the loop at phi and of each pair, ``[n + 1]``.
    """

    inner: Inner
    noise: Structure
    left: tf.Tensor


@dataclasses.dataclass(frozen=True)
class persistent_evolution(Estimator):
    """The estimator that continues its perturbed inner loops from call to call and accumulates their noise.

    The problem's ``steps`` are one window of a longer inner loop; with ``L_w`` the outer loss at the end of
    window w, and e_i drawn anew in every window::

        xi_i  <-  xi_i + e_i
        1/(2 sigma n) sum_{i=1}^{n} (L_w(... phi + sigma e_i) - L_w(... phi - sigma e_i)) xi_i

    for every task. Its expectation is the derivative of the smoothed ``L_w`` with respect to the phi of all
    windows since the start of the loop, whereas truncated backpropagation and ``evolution`` over one window
    use only that window's phi. For a quadratic and constant phi it is the derivative of ``L_w`` itself. The
    variance grows with the number of windows since the start of the loop, and decreases as 1/n.

    A pair restarts after ``windows`` calls, the first time after fewer, so that at any time pairs are in all
    parts of the loop. The returned loss, metrics and inner loop are those at the unperturbed phi. Tasks may
    change from call to call; the loops then continue with new data. The cost is 2n + 1 windows, computed
    together.

    Attributes:
        sigma: the standard deviation of the perturbations, positive.
        pairs: n, the number of antithetic pairs of each task, at least 1.
        windows: the number of calls after which an inner loop restarts, at least 1; None for never.

    Raises:
        ValueError: if an argument is out of range.

    Reference: Vicol, Metz and Sohl-Dickstein (2021), "Unbiased Gradient Estimation in Unrolled Computation
    Graphs with Persistent Evolution Strategies", equation 11 and algorithm 2.
    """

    sigma: float
    pairs: int
    windows: int | None = None

    second_order = False
    continues = False

    def __post_init__(self) -> None:
        require_positive("sigma", self.sigma)
        require_count("pairs", self.pairs)
        if self.windows is not None:
            require_count("windows (None for loops that never restart)", self.windows)

    def init(self, problem: Problem, phi: Meta, tasks: Task) -> Carry:
        """Return particles that start in the first call."""
        tasks = counted(tasks)
        count = number_of_tasks(tasks)
        begun = map_tasks(lambda task: inner_start(problem, phi, task), tasks, mapping=problem.mapping)
        each = 2 * self.pairs + 1
        inner = tf.nest.map_structure(lambda leaf: tf.repeat(tf.zeros_like(leaf), each, 0), begun)
        noise = tf.nest.map_structure(
            lambda leaf: tf.zeros([self.pairs, count, *leaf.shape], leaf.dtype), phi
        )
        staggered = [(self.windows or 1) * (self.pairs - pair) // self.pairs for pair in range(self.pairs)]
        left = np.maximum([self.windows or 1, *staggered], 1)
        return Particles(inner._replace(step=tf.fill([each * count], -1)), noise, tf.constant(left, tf.int32))

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the estimate for the next window, and the particles after it; see :class:`Estimator`."""
        tasks = prepared(self, problem, phi, tasks)
        count, n = number_of_tasks(tasks), self.pairs
        particles = carry if isinstance(carry, Particles) else self.init(problem, phi, tasks)

        def draw(tasks: int) -> Structure:
            drawn = perturbation(phi, n * tasks, seed, 0)
            return tf.nest.map_structure(lambda e, leaf: tf.reshape(e, [n, tasks, *leaf.shape]), drawn, phi)

        fresh = by_task(draw, count, axis=1)
        noise = tf.nest.map_structure(tf.add, particles.noise, fresh)
        phis = tf.nest.map_structure(
            lambda leaf, e: _rows(
                leaf + self.sigma * tf.concat([tf.zeros_like(e[:1]), e, -e], 0), leaf.shape
            ),
            phi,
            fresh,
        )
        repeated = tf.nest.map_structure(
            lambda leaf: tf.tile(leaf, [2 * n + 1] + [1] * (leaf.shape.rank - 1)), tasks
        )._replace(start=particles.inner)
        losses, inner, metrics = meta_losses(problem, phis, repeated)
        by_particle = tf.reshape(losses, [2 * n + 1, count])
        slope = (by_particle[1 : n + 1] - by_particle[n + 1 :]) / (2 * self.sigma * n)
        gradients = tf.nest.map_structure(
            lambda xi: tf.einsum("nt,nt...->t...", tf.cast(slope, xi.dtype), xi), noise
        )
        at_phi = tf.nest.map_structure(lambda leaf: leaf[:count], (losses, inner, metrics))
        first = tf.nest.map_structure(lambda leaf: leaf[:count], particles.inner)
        result = average(problem, tasks._replace(start=first), at_phi[0], gradients, *at_phi[1:])
        return result, self._after(numbered(inner, repeated, problem.steps), noise, particles.left, count)

    def _after(self, inner: Inner, noise: Structure, left: tf.Tensor, count: int) -> Particles:
        """Return the particles for the next window; those at the end of their loop restart."""
        if self.windows is None:
            return Particles(inner, noise, left)
        ends = left <= 1
        of_all = tf.repeat(tf.concat([ends, ends[1:]], 0), count)
        kept = tf.nest.map_structure(
            lambda xi: tf.where(
                tf.reshape(ends[1:], [self.pairs] + [1] * (xi.shape.rank - 1)), tf.zeros_like(xi), xi
            ),
            noise,
        )
        inner = inner._replace(step=tf.where(of_all, -1, inner.step))
        return Particles(inner, kept, tf.where(ends, self.windows, left - 1))


def _rows(leaf: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Return ``[(2n + 1) T, ...]`` of ``[2n + 1, T, ...]``."""
    return tf.reshape(leaf, [-1, *shape])
