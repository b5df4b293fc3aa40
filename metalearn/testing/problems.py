"""Conformance check of bilevel problems."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from metalearn.autodiff import check_gradients, value_and_gradient
from metalearn.checks import require_count
from metalearn.estimators.protocol import leaves_used
from metalearn.execution.task_map import map_tasks, require_mapping
from metalearn.inner_loop import (
    counted,
    inner_loss,
    inner_objective,
    inner_start,
    inner_step,
    number_of_tasks,
    outer_loss,
)
from metalearn.nest import epsilon, label, names
from metalearn.testing.requirements import differing, hold, layout, same_bits
from metalearn.types import Inner, Meta, Parameters, Problem, Structure, Task

METHODS = ("start", "batch", "inner_loss", "outer_loss", "hyperparameters")

BATCHES = 3
"""The number of batches that are compared for integer and tensor steps."""

TASKS = 2
"""The number of tasks for the check of the map over tasks."""

TOLERANCE = 1e-6
"""Tolerance between a float64 gradient and a difference, relative to the largest entry of its leaf."""

COARSE = 3e-2
"""The tolerance for other types, whose differences have few digits."""

DIRECTIONS = 4
"""The number of random directions in every parameter for the comparison of gradients."""

_hold = functools.partial(hold, "check_problem")


def check_problem(problem: Problem, phi: Meta, tasks: Task) -> None:
    """Check that an object fulfils the contract of :class:`metalearn.types.Problem`.

    The following is checked at ``phi`` for the first tasks:

    - it has the functions ``start``, ``batch``, ``inner_loss``, ``outer_loss`` and ``hyperparameters``, a
      rule, and ``steps``, ``batches`` and ``mapping`` in range;
    - ``start`` returns a dict of tensors, or an :class:`metalearn.Inner` of one;
    - ``batch`` returns the same for integer and tensor steps;
    - both losses and all metrics are scalars, losses in floating point; the model's state keeps its
      structure, shapes and types;
    - all functions are pure: a second call with the same arguments gives the same bits;
    - the map over tasks with ``mapping``, in a graph, equals eager calls to 1e-9 in float64;
    - every leaf of phi affects theta, a loss, or the rule's update;
    - the inner loss depends on every parameter, and its gradient at theta_0 equals central differences: to
      1e-6 if theta and the loss are float64; for other types, to 3 % of the gradient's length in a
      parameter, along the gradient. A parameter whose differences do not converge (a kink) is not checked.

    Args:
        problem: any object with the methods of :class:`metalearn.types.Problem`.
        phi: meta-parameters, nested floating-point tensors; float64 makes the check of gradients more
            precise.
        tasks: leaves ``[T, ...]``.

    Raises:
        AssertionError: naming the violated requirement.
    """
    _check_declarations(problem)
    for name, leaf in zip(names(phi), tf.nest.flatten(phi), strict=True):
        floating = tf.is_tensor(leaf) and leaf.dtype.is_floating
        _hold(floating, f"phi has floating-point tensors: {label(name)} is {leaf!r}")
    tasks = counted(tasks)
    try:
        number_of_tasks(tasks)
        task = _one(tasks, 0)
        found = _evaluated(problem, phi, task)
    except ValueError as error:
        raise AssertionError(f"check_problem requires a problem that can be evaluated: {error}") from error
    _check_types(found)
    again = _evaluated(problem, phi, task)
    _hold(same_bits(found, again), f"it is pure: a second call gives another {_first(found, again, 0.0)}")
    _check_batches(problem, task)
    _check_graph(problem, phi, tasks)
    if problem.steps:
        _check_inner_gradient(problem, phi, task)
    _check_phi_is_used(problem, phi, task)


def _check_declarations(problem: Problem) -> None:
    missing = [name for name in METHODS if not callable(getattr(problem, name, None))]
    _hold(not missing, f"it has the functions {', '.join(METHODS)}; missing {', '.join(missing)}")
    for name in ("rule", "steps", "batches", "mapping", "solved", "step_weights"):
        _hold(hasattr(problem, name), f"it has the attribute {name}")
    try:
        require_count("steps", problem.steps, minimum=0)
        require_count("batches", problem.batches)
        require_mapping(problem.mapping)
    except ValueError as error:
        raise AssertionError(f"check_problem requires settings in range: {error}") from error
    if problem.step_weights is not None:
        shape = tuple(tf.convert_to_tensor(problem.step_weights).shape)
        _hold(shape == (problem.steps + 1,), f"step_weights has the shape [{problem.steps + 1}], got {shape}")


def _one(tasks: Task, index: int) -> Task:
    return tf.nest.map_structure(lambda leaf: leaf[index], tasks)


def _evaluated(problem: Problem, phi: Meta, task: Task) -> dict[str, Structure]:
    """Return the results of the problem's functions for one task before its first step, by name."""
    start = inner_start(problem, phi, task)
    # Copies, because a vectorised map cannot return captured tensors.
    values = tf.nest.map_structure(tf.identity, problem.hyperparameters(phi))
    found = {"start": start, "hyperparameters": values}
    if problem.steps:
        found["inner_loss"], found["model"] = inner_loss(
            problem, start.parameters, phi, problem.batch(task, 0), start.model
        )
    found["outer_loss"], found["metrics"] = outer_loss(problem, start.parameters, phi, task, start.model)
    return found


def _check_types(found: dict[str, Structure]) -> None:
    losses = {name: found[name] for name in ("inner_loss", "outer_loss") if name in found}
    for name, leaf in (losses | found["start"].parameters).items():
        dtype = tf.convert_to_tensor(leaf).dtype
        _hold(dtype.is_floating, f"losses and parameters are floating point: {name} is {dtype.name}")
    if "inner_loss" in found:
        before, after = layout(found["start"].model), layout(found["model"])
        _hold(before == after, f"inner_loss keeps the model's state: {before} became {after}")


def _check_batches(problem: Problem, task: Task) -> None:
    for step in range(min(problem.steps, BATCHES)):
        as_integer, as_tensor = (
            [leaf for leaf in tf.nest.flatten(problem.batch(task, number)) if leaf is not None]
            for number in (step, tf.constant(step))
        )
        _hold(
            len(as_integer) == len(as_tensor) and same_bits(as_integer, as_tensor),
            f"batch returns the same for the step {step} as an integer and as a tensor",
        )


def _check_graph(problem: Problem, phi: Meta, tasks: Task) -> None:
    few = tf.nest.map_structure(lambda leaf: leaf[:TASKS], tasks)

    @tf.function(autograph=False)
    def mapped(phi: Meta, tasks: Task) -> Structure:
        return map_tasks(lambda task: _evaluated(problem, phi, task), tasks, mapping=problem.mapping)

    try:
        in_graph = mapped(phi, few)
    except Exception as error:
        raise AssertionError(
            f"check_problem requires that it works in a graph with mapping={problem.mapping!r}, but {error!r}"
        ) from error
    for index in range(number_of_tasks(few)):
        eager = _evaluated(problem, phi, _one(few, index))
        found = tf.nest.map_structure(lambda leaf, index=index: leaf[index], in_graph)
        where = _first(found, eager, _agreement(eager))
        _hold(not where, f"results in a graph equal those of eager calls: {where} of task {index} differs")


def _agreement(structure: Structure) -> float:
    """Return the tolerance for values that were computed in two ways, from their least precise type."""
    floating = [leaf.dtype for leaf in tf.nest.flatten(structure) if leaf.dtype.is_floating]
    return max([1e-9, *(100 * epsilon(dtype) for dtype in floating)])


def _first(left: Structure, right: Structure, tolerance: float) -> str:
    """Return the name of the first leaf that differs; empty if none does."""
    return next(iter(differing(left, right, tolerance)), "")


def _check_phi_is_used(problem: Problem, phi: Meta, task: Task) -> None:
    def reached(steps: int) -> list[str]:
        return leaves_used(lambda phi: _outcome(problem, phi, task, steps), phi)

    missing = set(names(phi)) - set(reached(min(problem.steps, BATCHES)))
    if missing and problem.steps > BATCHES:
        missing -= set(reached(problem.steps))
    unused = ", ".join(map(label, sorted(missing)))
    _hold(not missing, f"every leaf of phi has an effect: there is none of {unused}")


def _outcome(problem: Problem, phi: Meta, task: Task, steps: int) -> tuple[Inner, Any]:
    """Return the inner loop after some steps, and both losses at its parameters."""
    inner = inner_start(problem, phi, task)
    for step in range(steps):
        inner = inner_step(problem, inner, phi, task, step)
    losses = [outer_loss(problem, inner.parameters, phi, task, inner.model)[0]]
    if steps:
        losses.append(inner_objective(problem, inner.parameters, phi, task, inner.model))
    return inner, losses


def _check_inner_gradient(problem: Problem, phi: Meta, task: Task) -> None:
    start, batch = inner_start(problem, phi, task), problem.batch(task, 0)

    @tf.function(autograph=False)
    def loss(theta: Parameters) -> tf.Tensor:
        return inner_loss(problem, theta, phi, batch, start.model)[0]

    try:
        value, gradient = value_and_gradient(loss, start.parameters)
    except ValueError as error:
        raise AssertionError(
            f"check_problem requires that the inner loss depends on all parameters, but {error}"
        ) from error
    if any(leaf.dtype != tf.float64 for leaf in (value, *start.parameters.values())):
        _check_coarsely(loss, start.parameters, gradient)
        return
    report = check_gradients(loss, start.parameters, gradient, directions=DIRECTIONS)
    wrong = [
        name
        for name, error in report.error.items()
        if not error <= TOLERANCE * report.scale[name] + report.difference_error[name]
    ]
    _hold(
        not wrong,
        "the gradient of the inner loss is that of central differences: not with respect to "
        f"{', '.join(wrong)}; {report.worst}",
    )


def _check_coarsely(loss: Any, theta: Parameters, gradient: Parameters) -> None:
    """Compare slopes along the gradient, at a distance that balances the errors of rounding and curvature."""
    for name, leaf in theta.items():
        length = tf.norm(tf.cast(gradient[name], tf.float64)).numpy()
        if not length:
            continue
        scale = 1.0 + float(tf.reduce_max(tf.abs(tf.cast(leaf, tf.float64))))
        step = epsilon(leaf.dtype) ** (1 / 3) * scale
        along = tf.cast(tf.cast(gradient[name], tf.float64) / length, leaf.dtype)
        distances = (step, step / 2, 0.0, -step / 2, -step)
        points = [theta | {name: leaf + tf.cast(distance, leaf.dtype) * along} for distance in distances]
        far, near, middle, below, far_below = (float(loss(point)) for point in points)
        slope = (far - far_below) / (2 * step)
        rounding = 16 * epsilon(leaf.dtype) * max(map(abs, (far, middle, far_below))) / step
        # For a smooth loss this decreases with the distance and is nearly 0; at a kink it is the jump.
        jump = abs(4 * (near - 2 * middle + below) - (far - 2 * middle + far_below)) / step
        _hold(
            abs(slope - length) <= COARSE * length + rounding + jump,
            "the gradient of the inner loss is that of central differences: not with respect to "
            f"{name}, along which the slope is {slope:.6g} and the gradient's length {length:.6g}",
        )
