"""The inner loop of any bilevel problem: its start, one step, all steps, and the losses.

All functions are pure, and most are functions of one task. Within a loop, ``Inner.step`` is empty, because
the loop has its own index.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from metalearn.autodiff.gradients import dense, require_connected
from metalearn.execution.layout import FUSED_STEPS, Layout
from metalearn.execution.loops import fold, scan
from metalearn.execution.task_map import map_tasks
from metalearn.nest import distinct, label, names
from metalearn.types import Inner, Meta, Parameters, Problem, Structure, Task

Step: TypeAlias = "int | tf.Tensor"
"""An inner step, counted from 0: an int in a Python loop, a scalar tensor in a graph loop."""


def inner_start(problem: Problem, phi: Meta, task: Task) -> Inner:
    """Return the inner loop of one task before its first step: ``task.start``, or else the problem's start.

    Raises:
        ValueError: if ``task.start`` has another structure than the problem's start, naming the part.
    """
    started = problem.start(phi, task)
    inner = started if isinstance(started, Inner) else Inner(started)
    # A tape distinguishes tensors by identity, so theta_0 must not be the same object as a leaf of phi.
    parameters = tf.nest.map_structure(tf.identity, inner.parameters)
    _require_dict(parameters)
    rule = problem.rule.init(parameters) if isinstance(inner.rule, tuple) and not inner.rule else inner.rule
    anew = Inner(parameters, rule, tf.nest.map_structure(tf.identity, inner.model), ())
    if not isinstance(task.start, Inner):
        return anew
    _require_like("task.start", task.start, anew)
    begins = tf.convert_to_tensor(task.start.step) < 0
    return tf.nest.map_structure(
        lambda new, carried: tf.where(begins, new, carried), anew, task.start._replace(step=())
    )


def step_number(task: Task, index: Step) -> Step:
    """Return the number of a loop's step ``index``, which includes the steps before a continued loop."""
    if not isinstance(task.start, Inner):
        return index
    return tf.maximum(tf.cast(task.start.step, tf.int32), 0) + index


def inner_loss(
    problem: Problem, parameters: Parameters, phi: Meta, batch: Structure, model: Structure
) -> tuple[tf.Tensor, Structure]:
    """Return the inner loss on one step's batch and the next state of the model.

    Raises:
        ValueError: if the loss is not a scalar, or the structure of the state changes.
    """
    result = problem.inner_loss(parameters, phi, batch, model)
    loss, after = result if isinstance(result, tuple) else (result, model)
    _require_scalar("inner_loss", loss)
    _require_like("the model's state after inner_loss", after, model)
    return loss, after


def outer_loss(
    problem: Problem, parameters: Parameters, phi: Meta, task: Task, model: Structure
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Return the outer loss of one task and its metrics, by name.

    Metrics that are integers or truth values get the type of the loss, so that their means are not rounded.

    Raises:
        ValueError: if the loss or a metric is not a scalar.
    """
    result = problem.outer_loss(parameters, phi, task, model)
    loss, metrics = result if isinstance(result, tuple) else (result, {})
    _require_scalar("outer_loss", loss)
    for name, value in metrics.items():
        _require_scalar(f"the metric {name!r}", value)
    dtype = tf.convert_to_tensor(loss).dtype
    return loss, {
        name: value if tf.convert_to_tensor(value).dtype.is_floating else tf.cast(value, dtype)
        for name, value in metrics.items()
    }


def weighted_outer_loss(
    problem: Problem, parameters: Parameters, phi: Meta, task: Task, model: Structure, step: Step
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Return the term of theta_k, k = ``step``, in the meta-loss of one task, and the metrics at theta_k."""
    loss, metrics = outer_loss(problem, parameters, phi, task, model)
    if problem.step_weights is None:
        return loss, metrics
    return tf.cast(tf.gather(problem.step_weights, step), loss.dtype) * loss, metrics


def inner_gradient(
    problem: Problem, parameters: Parameters, phi: Meta, batch: Structure, model: Structure
) -> tuple[tf.Tensor, Structure, Parameters]:
    """Return the inner loss at ``parameters`` on one step's batch, the model's next state, and the gradient.

    Raises:
        ValueError: naming the parameters on which the inner loss does not depend.
    """
    parameters = distinct(parameters)
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        loss, after = inner_loss(problem, parameters, phi, batch, model)
    gradients = dense(tape.gradient(loss, parameters))
    require_connected(parameters, gradients)
    return loss, after, gradients


def inner_step(problem: Problem, inner: Inner, phi: Meta, task: Task, index: Step) -> Inner:
    """Return the inner loop of one task after its step ``index`` (counted from 0 in this loop)."""
    step = step_number(task, index)
    batch = problem.batch(task, step)
    _, model, gradients = inner_gradient(problem, inner.parameters, phi, batch, inner.model)
    parameters, rule = problem.rule.update(
        gradients, inner.rule, inner.parameters, problem.hyperparameters(phi), step
    )
    return Inner(parameters, rule, model, ())


def inner_objective(
    problem: Problem, parameters: Parameters, phi: Meta, task: Task, model: Structure
) -> tf.Tensor:
    """Return the complete inner loss of one task: the mean over its ``problem.batches`` batches."""
    # Not a map: gradients are taken outside this function, which a map does not support under XLA.
    losses = [
        inner_loss(problem, parameters, phi, problem.batch(task, index), model)[0]
        for index in range(problem.batches)
    ]
    return losses[0] if len(losses) == 1 else tf.add_n(losses) / len(losses)


def advance(problem: Problem, phi: Meta, layout: Layout, start: Inner, tasks: Task) -> Inner:
    """Return the inner loop after all its steps, within a program that stores no intermediate step."""

    def body(inner: Inner, index: Step) -> Inner:
        return layout.each(lambda inner, task: inner_step(problem, inner, phi, task, index), inner, tasks)

    return layout.fold(body, start, problem.steps)


def numbered(inner: Inner, tasks: Task, steps: int) -> Inner:
    """Return inner loops ``[T, ...]`` with the number of steps taken by each, ``[T]``."""
    taken = step_number(tasks, steps)
    count = tf.nest.flatten(inner.parameters)[0].shape[0]
    return inner._replace(step=tf.broadcast_to(tf.convert_to_tensor(taken, tf.int32), [count]))


def solve(
    problem: Problem,
    phi: Meta,
    tasks: Task,
    steps: int,
    measure: Callable[[Inner, Task], Structure],
) -> tuple[Inner, Structure]:
    """Run the inner loop on every task, with measurements before each step and after the last.

    Args:
        problem: the bilevel problem; its ``steps`` is not used.
        phi: the meta-parameters.
        tasks: leaves ``[T, ...]``.
        steps: K, at least 0.
        measure: ``((theta_k, s_k, m_k), task) -> nested tensors`` of one task.

    Returns:
        The inner loops after the last step, ``[T, ...]``, and the measurements, ``[T, K+1, ...]``.
    """
    tasks = counted(tasks)

    def each(function: Callable[..., Structure], *arguments: Structure) -> Structure:
        return map_tasks(function, *arguments, mapping=problem.mapping)

    def advance(carry: Structure, index: tf.Tensor) -> Structure:
        inner = each(lambda inner, task: inner_step(problem, inner, phi, task, index), carry[0], tasks)
        return inner, each(measure, inner, tasks)

    start = each(lambda task: inner_start(problem, phi, task), tasks)
    carry = start, each(measure, start, tasks)
    (inner, last), before = scan(advance, carry, steps, in_graph=True)
    _, earlier = before(slice(None))
    measured = tf.nest.map_structure(
        lambda steps, last: tf.concat([tf.experimental.numpy.moveaxis(steps, 0, 1), last[:, None]], 1),
        earlier,
        last,
    )
    return numbered(inner, tasks, steps), measured


def inner_end(problem: Problem, phi: Meta, task: Task, steps: int | None = None) -> Inner:
    """Return the inner loop of one task after some or all of its steps; many are a loop in the graph."""
    steps = problem.steps if steps is None else steps
    return fold(
        lambda inner, index: inner_step(problem, inner, phi, task, index),
        inner_start(problem, phi, task),
        steps,
        in_graph=steps > FUSED_STEPS,
    )


def adapted(problem: Problem, phi: Meta, task: Task) -> Parameters:
    """Return theta_K of one task as a differentiable function of phi.

    It is for losses that contain an inner problem themselves, so derivatives of higher order nest. Beyond a
    few steps it is a loop in the graph, whose size does not grow with the number of steps.

    Args:
        problem: the inner problem.
        phi: its meta-parameters.
        task: one task, leaves without ``[T]``.
    """
    return inner_end(problem, phi, task).parameters


def counted(tasks: Task) -> Task:
    """Return tasks with at least one leaf, so that T is known; T is 1 for tasks without leaves."""
    return tasks if tf.nest.flatten(tasks) else tasks._replace(info=tf.zeros([1]))


def number_of_tasks(tasks: Task) -> int:
    """Return T.

    Raises:
        ValueError: if the leaves disagree on T, naming two of them.
    """
    leaves = dict(zip(names(tasks), tf.nest.flatten(tasks), strict=True))
    sizes = {name: leaf.shape[0] if leaf.shape.rank else "none" for name, leaf in leaves.items()}
    (first, count), *_ = sizes.items()
    for name, size in sizes.items():
        if size != count or size == "none":
            raise ValueError(
                f"every leaf of the tasks needs a leading axis of the same length T, but {first} has {count} "
                f"and {name} has {size}: for a single task, add an axis of length 1, "
                "tf.nest.map_structure(lambda x: x[None], tasks)"
            )
    return count  # type: ignore[return-value]


def _require_scalar(what: str, value: tf.Tensor) -> None:
    shape = tf.convert_to_tensor(value).shape
    if shape.rank != 0:
        raise ValueError(
            f"{what} has to be a scalar for one task, got the shape {shape}: reduce it, for example with "
            "tf.reduce_mean (otherwise the gradient is that of the sum, which multiplies the inner rate)"
        )


def _require_dict(parameters: Parameters) -> None:
    is_dict = isinstance(parameters, dict) and parameters
    if not is_dict or not all(tf.is_tensor(leaf) for leaf in parameters.values()):
        raise ValueError(
            "start has to return the inner parameters as a dict of tensors, {name: tensor}, got "
            f"{type(parameters).__name__}: inner rules update variables by their names"
        )


def _require_like(what: str, given: Structure, like: Structure) -> None:
    """Raise ValueError unless ``given`` has the paths, shapes and types of ``like``."""
    if given is like:
        return
    if isinstance(given, Inner):
        given = given._replace(step=())
    found = dict(zip(names(given), tf.nest.flatten(given), strict=True))
    expected = dict(zip(names(like), tf.nest.flatten(like), strict=True))
    if differing := sorted(set(found) ^ set(expected)):
        raise ValueError(
            f"{what} has other parts than the problem's own start: {', '.join(map(label, differing))} "
            f"{'are' if len(differing) > 1 else 'is'} in one of the two only; create it with the same "
            "problem and rule"
        )
    for name, leaf in found.items():
        leaf, model = tf.convert_to_tensor(leaf), tf.convert_to_tensor(expected[name])
        if leaf.dtype != model.dtype or not leaf.shape.is_compatible_with(model.shape):
            raise ValueError(
                f"{what} has {leaf.dtype.name} {leaf.shape} at {label(name)}, but the problem's own start "
                f"has {model.dtype.name} {model.shape}"
            )
