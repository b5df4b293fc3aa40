"""Forward mode: the derivative of theta_k with respect to every scalar of phi, carried along with theta_k."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn.autodiff import require_connected
from metalearn.autodiff.failures import explained
from metalearn.autodiff.gradients import dense
from metalearn.checks import require_count
from metalearn.estimators.protocol import Carry, Estimator, average, prepared, require_step_weights
from metalearn.execution.layout import Layout, run
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import inner_start, inner_step, outer_loss
from metalearn.nest import ravel
from metalearn.types import Inner, Meta, MetaGradient, Problem, Seed, Structure, Task

Tangents = tuple[Inner, list[tf.Tensor]]
"""The inner loop's state and the tangents ``[M, ...]`` of its floating-point leaves."""


@dataclasses.dataclass(frozen=True)
class forward_mode(Estimator):
    """The exact estimator for few meta-parameters, such as learned rates.

    ::

        d theta_{k+1} / d phi_m = d step / d theta  d theta_k / d phi_m  +  d step / d phi_m,      m = 1..M
        d meta-loss / d phi_m   = <grad_theta outer_loss, d theta_K / d phi_m> + d outer_loss / d phi_m

    No step is stored, so memory does not depend on the number of steps; time and memory grow with M, the
    number of scalars in phi.

    Attributes:
        limit: the largest M accepted, at least 1.

    Raises:
        ValueError: if ``limit`` is not a positive integer; when called, if phi has more scalars than
            ``limit``, with their number.

    Reference: Franceschi et al. (2017), "Forward and Reverse Gradient-Based Hyperparameter Optimization",
    algorithm 2 (Forward-HG).
    """

    limit: int = 256

    exact = True

    def __post_init__(self) -> None:
        require_count("limit", self.limit)

    def require(self, problem: Problem, phi: Meta, task: Task) -> None:
        """Raise ValueError if phi has more scalars than the limit."""
        require_step_weights(self, problem)
        scalars = _scalars(phi)
        if scalars > self.limit:
            raise ValueError(
                f"the estimator forward_mode carries a tangent for each of the {scalars} scalars in the "
                f"meta-parameters, but its limit is {self.limit}: use the estimator checkpointed, whose cost "
                "does not grow with their number, or raise the limit"
            )

    def __call__(
        self, problem: Problem, phi: Meta, tasks: Task, carry: Carry = (), seed: Seed = (0, 0)
    ) -> tuple[MetaGradient, Carry]:
        """Return the meta-gradient and an empty carry; see :class:`Estimator`."""
        tasks, basis = prepared(self, problem, phi, tasks), _basis(phi)

        def start(task: Task) -> Tangents:
            _require_connected(problem, phi, task)
            return _push(problem, lambda phi: inner_start(problem, phi, task), (phi,), basis)

        def program(layout: Layout, carry: Tangents, tasks: Task) -> tuple[Any, ...]:
            def body(carry: Tangents, index: Any) -> Tangents:
                def of_one_task(inner: Inner, tangents: list[tf.Tensor], task: Task) -> Tangents:
                    def function(inner: Inner, phi: Meta) -> Inner:
                        return inner_step(problem, inner, phi, task, index)

                    return _push(problem, function, (inner, phi), [*tangents, *basis])

                return layout.each(of_one_task, *carry, tasks)

            inner, tangents = layout.fold(body, carry, problem.steps)
            loss, gradient, metrics = layout.each(
                lambda *of_one: _outer(problem, phi, basis, *of_one), inner, tangents, tasks
            )
            return loss, gradient, inner, metrics

        # Each step contains a map over directions, which is slow to trace: a loop traces it only once.
        started = map_tasks(start, tasks, mapping=problem.mapping)
        return average(problem, tasks, *run(problem, program, started, tasks, fused=False)), ()


def _push(
    problem: Problem, function: Callable[..., Inner], point: tuple[Structure, ...], tangents: list[tf.Tensor]
) -> Tangents:
    """Return ``function(*point)`` of one task, and its derivatives along ``M`` tangents, ``[M, ...]``.

    ``tangents`` belong to the floating-point leaves of the point. The derivative is zero if the function does
    not depend on them, as the start of an inner loop may not depend on phi.
    """
    leaves = tf.nest.flatten(point)
    places = [place for place, leaf in enumerate(leaves) if leaf.dtype.is_floating]

    def along(*tangent: tf.Tensor) -> list[tf.Tensor]:
        moving = [tf.identity(leaf) for leaf in leaves]
        with (
            explained(),
            tf.autodiff.ForwardAccumulator([moving[place] for place in places], list(tangent)) as forward,
        ):
            value = function(*tf.nest.pack_sequence_as(point, moving))
        outputs = [output for output in tf.nest.flatten(value) if output.dtype.is_floating]
        zero = tf.UnconnectedGradients.ZERO
        return [tf.convert_to_tensor(forward.jvp(output, unconnected_gradients=zero)) for output in outputs]

    return function(*point), map_tasks(along, *tangents, mapping=problem.mapping)


def _outer(
    problem: Problem, phi: Meta, basis: list[tf.Tensor], inner: Inner, tangents: list[tf.Tensor], task: Task
) -> tuple[tf.Tensor, Meta, dict[str, tf.Tensor]]:
    """Return the meta-loss of one task, its gradient from the tangents of the last state, and the metrics."""
    moving = [leaf for leaf in tf.nest.flatten(inner) if leaf.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch((moving, phi))
        loss, metrics = outer_loss(problem, inner.parameters, phi, task, inner.model)
    points = [*moving, *tf.nest.flatten(phi)]
    gradients = dense(tape.gradient(loss, points, unconnected_gradients=tf.UnconnectedGradients.ZERO))
    slopes = [
        tf.tensordot(tangent, gradient, gradient.shape.rank)
        for tangent, gradient in zip([*tangents, *basis], gradients, strict=True)
    ]
    _, unravel = ravel(phi)
    return loss, unravel(tf.add_n(slopes)), metrics


def _basis(phi: Meta) -> list[tf.Tensor]:
    """Return the unit vectors of all scalars of phi: ``[M, ...]`` for each leaf."""
    flat, _ = ravel(phi)
    leaves = tf.nest.flatten(phi)
    parts = tf.split(
        tf.eye(_scalars(phi), dtype=flat.dtype), [leaf.shape.num_elements() for leaf in leaves], 1
    )
    return [tf.reshape(part, [-1, *leaf.shape]) for part, leaf in zip(parts, leaves, strict=True)]


def _scalars(phi: Meta) -> int:
    return sum(leaf.shape.num_elements() for leaf in tf.nest.flatten(phi))


def _require_connected(problem: Problem, phi: Meta, task: Task) -> None:
    """Raise ValueError naming the leaves of phi on which neither the first steps nor the outer loss depend.

    A tangent of zero does not show whether there is a path, but a tape does. Its values are not used.
    """
    with tf.GradientTape() as tape:
        tape.watch(phi)
        inner = inner_start(problem, phi, task)
        # Two steps, because the state of a rule first has an effect in the second.
        for index in range(min(problem.steps, 2)):
            inner = inner_step(problem, inner, phi, task, index)
        loss, _ = outer_loss(problem, inner.parameters, phi, task, inner.model)
    require_connected(phi, tape.gradient(loss, phi))
