"""Finite differences, and the comparison of gradients with them, independent of automatic differentiation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metalearn.autodiff.gradients import value_and_gradient
from metalearn.autodiff.products import require_scalar
from metalearn.checks import require_count, require_positive
from metalearn.nest import epsilon as type_epsilon
from metalearn.nest import label, matched, names
from metalearn.random import normal
from metalearn.types import Structure

STEP = 1e-3
"""Truncation error, about STEP^6, and rounding error, about eps / STEP, are both below 1e-11."""

COORDINATES = 64
"""Leaves of up to this many entries are checked along every coordinate, others along random directions."""

DIRECTIONS = 16
"""Number of random directions in a larger leaf."""


class Comparison(NamedTuple):
    """One directional derivative, from the gradient and from differences.

    Attributes:
        place: the leaf and the coordinate, ``"hidden_0/kernel[2, 0]"``, or the random direction's number.
        analytic: the inner product of the gradient with the direction.
        numeric: the central difference.
        difference_error: estimated error of the central difference.
    """

    place: str
    analytic: float
    numeric: float
    difference_error: float

    @property
    def error(self) -> float:
        """The absolute difference of the two."""
        return abs(self.analytic - self.numeric)


class GradientReport(NamedTuple):
    """The result of :func:`check_gradients`. The keys of the dicts are the names of the leaves of ``x``.

    Attributes:
        error: largest difference between analytic and numeric derivative in a leaf.
        difference_error: largest estimated error of the numeric derivatives in a leaf. If it is as large as
            ``error``, the function is not smooth there, and the comparison does not show an error of the
            gradient.
        scale: largest derivative in a leaf, analytic or numeric.
        magnitude: largest absolute value of the function at the points of the differences.
        worst: the comparison with the largest error relative to the scale of its leaf.
    """

    error: dict[str, float]
    difference_error: dict[str, float]
    scale: dict[str, float]
    magnitude: float
    worst: Comparison

    def passed(self, tolerance: float) -> bool:
        """Return whether the gradient is correct to ``tolerance`` in every leaf.

        ::

            error <= tolerance * scale of the leaf + difference_error,
            difference_error <= tolerance * max(largest scale, magnitude)

        The second line rejects points where the function is not smooth, since differences are meaningless
        there.
        """
        overall = max(self.magnitude, *self.scale.values())
        return all(
            error <= tolerance * self.scale[leaf] + self.difference_error[leaf]
            and self.difference_error[leaf] <= tolerance * overall
            for leaf, error in self.error.items()
        )


def central_differences(
    function: Callable[[Structure], Structure],
    x: Structure,
    direction: Structure,
    epsilon: float | None = None,
) -> tuple[Structure, Structure]:
    """Differentiate ``function`` along ``direction`` by central differences at three step sizes.

    ::

        D(h) = (f(x + h d) - f(x - h d)) / 2h,      R(h) = (4 D(h/2) - D(h)) / 3,
        S(h) = (f(x + h d) - 2 f(x) + f(x - h d)) / h,
        value = (16 R(h/2) - R(h)) / 15,      error = |R(h/2) - R(h)| + |2 S(h/4) - S(h/2)| + rounding

    The second term of the error is the jump of the slope at ``x``: at a kink, central differences of all
    step sizes agree on a number that is no derivative. One kink of a piecewise linear function, wherever
    it lies, moves the value by less than the error says. Cost: seven evaluations of ``function``.

    Args:
        function: of nested float64 tensors, to nested float64 tensors: a loss, or the gradient of one.
        x: the point.
        direction: structure and shapes of ``x``; the derivative is proportional to its length.
        epsilon: ``h``, above 0; by default ``STEP``, for entries and curvature of order 1.

    Returns:
        The derivative and an estimate of its absolute error, structured as the function's value.

    Raises:
        ValueError: if a tensor is not float64, or ``direction`` does not match ``x``, naming the leaf.

    Reference: Richardson (1911), "The Approximate Arithmetical Solution by Finite Differences".
    """
    value, error, _ = _differences(function, x, direction, STEP if epsilon is None else epsilon)
    return value, error


def check_gradients(
    function: Callable[[Structure], tf.Tensor],
    x: Structure,
    gradient: Structure | None = None,
    *,
    directions: int | None = None,
    epsilon: float | None = None,
    seed: int = 0,
) -> GradientReport:
    """Compare a gradient with central differences, leaf by leaf.

    Args:
        function: of nested float64 tensors, to a float64 scalar. Called seven times for each direction: wrap
            a slow one in ``tf.function``.
        x: the point; nested float64 tensors.
        gradient: the gradient to check, structured as ``x``; that of ``value_and_gradient`` if not given.
        directions: random directions of length 1 in every leaf; if not given, every coordinate of leaves
            of up to ``COORDINATES`` entries, and ``DIRECTIONS`` random directions in larger ones.
        epsilon: step size, as for :func:`central_differences`.
        seed: of the random directions.

    Returns:
        A report; ``report.passed(1e-6)`` gives the verdict.

    Raises:
        ValueError: if called in a graph; if a tensor is not float64; if ``gradient`` does not match
            ``x``, naming the leaf; or as ``value_and_gradient``.
    """
    if not tf.executing_eagerly():
        raise ValueError("check_gradients compares numbers, which a graph does not have: call it eagerly")
    if directions is not None:
        require_count("directions", directions)
    x = _double("x", x)
    require_scalar(_double("the function's value", function(x)))
    if gradient is None:
        _, gradient = value_and_gradient(function, x)
    gradient = _double("gradient", matched("gradient", gradient, x))
    step = STEP if epsilon is None else epsilon
    compared: dict[str, list[Comparison]] = {}
    magnitude = 0.0
    for index, (name, slope) in enumerate(zip(names(x), tf.nest.flatten(gradient), strict=True)):
        compared[name] = []
        for suffix, direction in _directions(slope.shape, directions, seed, index):
            leaves = [tf.zeros_like(leaf) for leaf in tf.nest.flatten(x)]
            leaves[index] = tf.constant(direction)
            along = tf.nest.pack_sequence_as(x, leaves)
            value, error, largest = _differences(function, x, along, step)
            touched = direction != 0
            analytic = float(np.sum(slope.numpy()[touched] * direction[touched]))
            compared[name].append(Comparison(label(name + suffix), analytic, float(value), float(error)))
            magnitude = max(magnitude, float(largest))
    return _report(compared, magnitude)


def _report(compared: dict[str, list[Comparison]], magnitude: float) -> GradientReport:
    """Sum up the comparisons, given leaf by leaf; NaN counts as the largest of numbers."""

    def largest(measure: Callable[[Comparison], float]) -> dict[str, float]:
        return {
            leaf: float(np.max([measure(row) for row in rows], initial=0.0))
            for leaf, rows in compared.items()
        }

    scale = largest(lambda row: np.maximum(abs(row.analytic), abs(row.numeric)))

    def badness(item: tuple[str, Comparison]) -> float:
        leaf, row = item
        return math.inf if math.isnan(row.error) else row.error / (scale[leaf] if scale[leaf] > 0 else 1)

    return GradientReport(
        error=largest(lambda row: row.error),
        difference_error=largest(lambda row: row.difference_error),
        scale=scale,
        magnitude=magnitude,
        worst=max(((leaf, row) for leaf, rows in compared.items() for row in rows), key=badness)[1],
    )


def _directions(
    shape: tf.TensorShape, count: int | None, seed: int, leaf: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield directions of length 1 in a leaf, each with what to add to the leaf's name."""
    size = shape.num_elements()
    if count is None and size <= COORDINATES:
        for index in np.ndindex(*shape):
            direction = np.zeros(shape)
            direction[index] = 1.0
            yield (f"[{', '.join(map(str, index))}]" if index else ""), direction
        return
    count = DIRECTIONS if count is None else count
    draws = normal([count, *shape], (seed, leaf), tf.float64).numpy()
    for number, draw in enumerate(draws):
        yield f", random direction {number}", draw / np.linalg.norm(draw)


def _differences(
    function: Callable[[Structure], Structure], x: Structure, direction: Structure, step: float
) -> tuple[Structure, Structure, tf.Tensor]:
    """Return value and error of :func:`central_differences`, and the largest value of the function."""
    require_positive("epsilon", step)
    x = _double("x", x)
    direction = _double("direction", matched("direction", direction, x))
    steps = [step, step / 2, step / 4]

    def at(distance: float) -> Structure:
        moved = tf.nest.map_structure(lambda leaf, along: leaf + distance * along, x, direction)
        return _double("the function's value", function(moved))

    middle, above, below = at(0.0), [at(h) for h in steps], [at(-h) for h in steps]
    reach = tf.reduce_max([tf.reduce_max(tf.abs(leaf)) for leaf in tf.nest.flatten(x)])
    values, errors, magnitudes = [], [], []
    for here, *sides in zip(*map(tf.nest.flatten, (middle, *above, *below)), strict=True):
        pairs = list(zip(sides[:3], sides[3:], steps, strict=True))
        slopes = [(up - down) / (2 * h) for up, down, h in pairs]
        bends = [(up - 2 * here + down) / h for up, down, h in pairs]
        coarse, fine = [(4 * slopes[i + 1] - slopes[i]) / 3 for i in (0, 1)]
        jump = 2 * bends[2] - bends[1]
        value = (16 * fine - coarse) / 15
        largest = tf.reduce_max(tf.abs(tf.stack([here, *sides])), 0)
        rounding = 4 * type_epsilon(tf.float64) * (largest + reach * tf.abs(value)) / steps[-1]
        values.append(value)
        errors.append(tf.abs(fine - coarse) + tf.abs(jump) + rounding)
        magnitudes.append(tf.reduce_max(largest))
    pack = tf.nest.pack_sequence_as
    return pack(middle, values), pack(middle, errors), tf.reduce_max(magnitudes)


def _double(what: str, structure: Structure) -> Structure:
    """Return ``structure`` as tensors; raise ValueError naming a leaf that is not float64."""
    tensors = tf.nest.map_structure(tf.convert_to_tensor, structure)
    for name, leaf in zip(names(structure), tf.nest.flatten(tensors), strict=True):
        if leaf.dtype != tf.float64:
            raise ValueError(
                f"{what} has {leaf.dtype.name} at {label(name)}, in which differences drown in rounding: "
                "use float64 throughout (tf.cast for data, dtype='float64' for models)"
            )
    return tensors
