"""The state that a training carries from iteration to iteration, and the restart of inner loops."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.estimators.protocol import leaves_used
from metalearn.execution.task_map import map_tasks
from metalearn.inner_loop import inner_start, inner_step, outer_loss
from metalearn.nest import names
from metalearn.problems.learner import Learner
from metalearn.types import Inner, Meta, Structure, Task

Carry: TypeAlias = "int | Literal['forever'] | None"
"""The number of iterations after which an inner loop restarts; None for a restart in every iteration."""


class Carried(NamedTuple):
    """The state that is carried from iteration to iteration, except phi and the optimizer.

    Attributes:
        statistics: the part of the meta-parameters that is updated without gradients.
        inner: the inner loops ``[T, ...]``, empty if every iteration restarts them.
        estimator: the estimator's carry.
    """

    statistics: Structure
    inner: Inner | tuple[()]
    estimator: Structure


def require_carry(carry: Carry, learner: Learner, meta: Meta, tasks: Task) -> None:
    """Raise ValueError if ``carry`` is out of range, or the estimator or phi does not support it."""
    if carry is None:
        return
    if carry != "forever":
        require_count("carry (None for none, or 'forever')", carry)
    if not learner.estimator.continues:
        raise ValueError(
            f"carry={carry!r} is not supported by the estimator {type(learner.estimator).__name__}, "
            "because it needs the start of the inner loop. Omit carry, or use the estimator "
            "checkpointed"
        )
    if carry == "forever":
        _require_reached(learner, meta, tasks)


def first(learner: Learner, meta: Meta, tasks: Task, carry: Carry) -> Carried:
    """Return the carried state before the first iteration; inner loops with step -1 start anew."""
    _, statistics = learner.parts(meta)
    problem, phi, posed = learner.posed(meta, tasks, (0, 0))
    inner: Inner | tuple[()] = ()
    if carry is not None:
        start = tf.function(
            lambda phi, tasks: map_tasks(
                lambda task: inner_start(problem, phi, task), tasks, mapping=problem.mapping
            ),
            autograph=False,
        )
        begun = start.get_concrete_function(phi, posed).structured_outputs
        zeros: Inner = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), begun)
        count = tf.nest.flatten(zeros)[0].shape[0]
        inner = zeros._replace(step=tf.fill([count], -1))
    return Carried(statistics, inner, learner.estimator.init(problem, phi, posed))


def continued(tasks: Task, inner: Inner | tuple[()], carry: Carry, iteration: tf.Tensor) -> Task:
    """Return the tasks of an iteration with the inner loops that they continue or restart."""
    if not isinstance(inner, Inner):
        return tasks
    if carry != "forever":
        anew = tf.equal(iteration % carry, 0)
        inner = inner._replace(step=tf.where(anew, -1, inner.step))
    return tasks._replace(start=inner)


def _require_reached(learner: Learner, meta: Meta, tasks: Task) -> None:
    """Raise ValueError naming leaves of phi on which only the start depends: later gradients are zero."""
    problem, phi, posed = learner.posed(meta, tasks, (0, 0))
    one = tf.nest.map_structure(lambda leaf: leaf[0], posed)
    begun = inner_start(problem, phi, one)

    def after(phi: Meta) -> Structure:
        inner = begun
        # Two steps, because the state of a rule first has an effect in the second.
        for index in range(min(problem.steps, 2)):
            inner = inner_step(problem, inner, phi, one, index)
        return outer_loss(problem, inner.parameters, phi, one, inner.model)[0]

    missing = sorted(set(names(phi)) - set(leaves_used(after, phi)))
    if missing:
        raise ValueError(
            f"carry='forever' leaves no gradient for {', '.join(missing)}: only the start of an inner loop "
            "depends on it, which is not repeated. Set carry to a number of iterations, or omit it"
        )
