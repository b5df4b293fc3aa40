"""First, second and third derivatives of a function, each compared with differences of the previous order."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import metalearn as ml
from metalearn.autodiff.failures import explained
from metalearn.autodiff.gradients import dense

from .cases import Case
from .measure import (
    STEP,
    TOLERANCE,
    computing_in,
    distance,
    norm,
    operation_of,
    precision,
    silenced,
)

ORDINALS = ("first", "second", "third")

FAILURES = (ValueError, LookupError, TypeError, NotImplementedError, tf.errors.OpError)
"""Errors of missing derivatives, under ``explained`` or from the code of the gradient."""


FLAT = 1e-10
"""Largest derivatives that count as zero."""


class Orders(NamedTuple):
    """The measurements of a function.

    Attributes:
        case: what was measured.
        errors: of the derivatives, relative, from the first on, up to the first that is not right.
        missing: what the derivative after ``errors`` lacks, or ``""``.
        is_constant: whether the function is constant wherever it has a derivative.
    """

    case: Case
    errors: tuple[float, ...]
    missing: str = ""
    is_constant: bool = False

    @property
    def fault(self) -> str:
        """Return which derivative is wrong or missing, and how; ``""`` if all are correct."""
        if self.missing:
            return f"{ORDINALS[len(self.errors)]}: none, {self.missing}"
        if not self.errors or self.errors[-1] <= TOLERANCE[precision(self.case)]:
            return ""
        order, error = ORDINALS[len(self.errors) - 1], self.errors[-1]
        return f"{order}: " + ("not a number" if np.isnan(error) else f"wrong by {error:.0%}")


def measure_orders(case: Case) -> Orders:
    """Measure ``sum(sin(outputs + constants))`` along a random direction.

    Args:
        case: no layer. Of a function in float32 two orders are measured: in the differences of a third,
            nothing is left but rounding.

    Returns:
        The row of the table; the same in every process.
    """
    random = np.random.default_rng(0)
    with computing_in("float64"), silenced(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated functions are audited as long as they work
        x = [tf.constant(draw(random)) for draw in case.inputs]
        v = [tf.constant(random.uniform(-1, 1, leaf.shape)) for leaf in x]
        function = _bent(case)
        errors: list[float] = []
        for order in range(1, 3 if case.single else 4):

            def before(x: list[tf.Tensor], order: int = order - 1) -> Any:
                return _filled(x, _derivative(function, x, v, order))

            try:
                with explained():
                    found = _derivative(function, x, v, order)
                    numeric, _ = ml.derivatives.central_differences(before, x, v, STEP[precision(case)])
            except FAILURES as failure:
                return Orders(case, tuple(errors), _reason(failure))
            size = norm(numeric)
            if order == 1:
                if all(each is None for each in found):
                    return Orders(case, (), "" if size < FLAT else "None in its place", size < FLAT)
                found = _along(x, found, v)
            off = distance(_filled(x, found), numeric)
            errors.append(off / size if size > FLAT else off)
            # Written so that NaN is wrong.
            if not errors[-1] <= TOLERANCE[precision(case)]:
                return Orders(case, tuple(errors))
        return Orders(case, tuple(errors), "", not any(errors) and size < FLAT)


def _bent(case: Case) -> Callable[[list[tf.Tensor]], tf.Tensor]:
    """Return a scalar function that is nonlinear also where the function of the case is linear."""
    dtype = "float32" if case.single else "float64"

    def scalar(x: list[tf.Tensor]) -> tf.Tensor:
        outputs = tf.nest.flatten(case.function(*(tf.cast(leaf, dtype) for leaf in x)))
        parts = [
            tf.reduce_sum(tf.sin(tf.cast(output, tf.float64) + _constants(output.shape)))
            for output in outputs
            if output.dtype.is_floating
        ]
        return tf.add_n(parts)

    return scalar


def _constants(shape: tf.TensorShape) -> np.ndarray:
    return (0.5 + 0.37 * np.arange(shape.num_elements())).reshape(shape)


def _derivative(
    function: Callable[[list[tf.Tensor]], tf.Tensor], x: list[tf.Tensor], v: list[tf.Tensor], order: int
) -> Any:
    """Return the value for order 0, otherwise the gradient of the previous order's derivative along ``v``."""
    if not order:
        return function(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = _derivative(function, x, v, order - 1)
        if order > 1:
            value = _along(x, value, v)
    return dense(tape.gradient(value, x))


def _along(x: list[tf.Tensor], gradient: Any, v: list[tf.Tensor]) -> tf.Tensor:
    """Return the inner product of a gradient with a direction."""
    parts = zip(_filled(x, gradient), v, strict=True)
    return tf.add_n([tf.reduce_sum(part * direction) for part, direction in parts])


def _filled(x: list[tf.Tensor], gradient: Any) -> Any:
    """Return a gradient in which None is replaced by zeros."""
    if not isinstance(gradient, list):
        return gradient
    return [tf.zeros_like(leaf) if part is None else part for leaf, part in zip(x, gradient, strict=True)]


def _reason(error: BaseException) -> str:
    """Return a short text on why there is no derivative."""
    operation = operation_of(error)
    return operation.partition(":")[0].partition(" (")[0] if " " in operation else f"{operation} has none"
