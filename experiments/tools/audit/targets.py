"""Losses as functions of their targets: gradients, and mixed derivatives by targets and outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import metalearn as ml
from metalearn.autodiff.failures import explained

from .cases import Case, Draw, normal, probabilities
from .functions import losses
from .measure import STEP, TOLERANCE, computing_in, operation_of
from .orders import FLAT

ROWS, LIKELY = normal(4, 3), probabilities(4, 3)

WHOLE = ("circle", "ctc", "categorical_generalized_cross_entropy", "sparse_categorical_crossentropy")
"""Losses of Keras whose targets are classes, which have no derivative."""


OTHERS: dict[str, tuple[Callable[..., Any], tuple[Draw, Draw]]] = {
    "tf.nn.softmax_cross_entropy_with_logits": (tf.nn.softmax_cross_entropy_with_logits, (LIKELY, ROWS)),
    "tf.nn.sigmoid_cross_entropy_with_logits": (tf.nn.sigmoid_cross_entropy_with_logits, (LIKELY, ROWS)),
    "tf.nn.weighted_cross_entropy_with_logits": (
        partial(tf.nn.weighted_cross_entropy_with_logits, pos_weight=2.0),
        (LIKELY, ROWS),
    ),
    "tf.nn.log_poisson_loss": (tf.nn.log_poisson_loss, (LIKELY, ROWS)),
    "metalearn.losses.cross_entropy": (ml.losses.cross_entropy, (LIKELY, ROWS)),
    "metalearn.losses.mse": (ml.losses.mse, (ROWS, ROWS)),
}
"""Losses that are not part of Keras."""


class ByTargets(NamedTuple):
    """The measurements of a loss.

    Attributes:
        name: of the loss.
        gradient: by targets: relative error against differences of the loss.
        mixed: the second derivative by targets and outputs: likewise, against differences of gradients.
        is_zero: whether TensorFlow's mixed one is exactly 0 where it should not be.
        missing: what has no derivative, or ``""``.
    """

    name: str
    gradient: float
    mixed: float
    is_zero: bool
    missing: str = ""

    @property
    def fault(self) -> str:
        """Return which derivatives are wrong or missing; ``""`` if both are correct."""
        if self.missing:
            return f"none, {self.missing}"
        for label, error in (("gradient", self.gradient), ("mixed", self.mixed)):
            if not error <= TOLERANCE["float64"]:
                kind = "exactly 0" if self.is_zero and label == "mixed" else f"wrong by {error:.0%}"
                return f"{label}: " + ("not a number" if np.isnan(error) else kind)
        return ""


def losses_of_targets() -> Iterator[Case]:
    """Yield every loss with targets that are real numbers, as a function of targets and outputs."""
    for case in losses():
        if case.keras_name in WHOLE or "soft targets" in case.name:
            continue
        of_targets, of_outputs = case.inputs
        if not np.issubdtype(of_targets(np.random.default_rng(0)).dtype, np.floating):
            of_targets = LIKELY if "categorical" in case.name else ROWS
        yield Case(f"keras.losses.{case.name}", "loss", case.function, (of_targets, of_outputs))
    for name, (function, inputs) in OTHERS.items():
        yield Case(name, "loss", function, inputs)


def measure_targets(case: Case) -> ByTargets:
    """Measure the sum of a loss along a direction of the targets, and one of the outputs.

    Args:
        case: a function of targets and outputs.

    Returns:
        The row of the table; the same in every process.
    """
    random = np.random.default_rng(0)
    with computing_in("float64"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        targets, outputs = (tf.constant(draw(random)) for draw in case.inputs)
        v, w = (tf.constant(random.uniform(-1, 1, leaf.shape)) for leaf in (targets, outputs))

        def value(targets: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(case.function(targets, outputs))

        def slope(targets: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(outputs)
                loss = tf.reduce_sum(case.function(targets, outputs))
            return tf.reduce_sum(tape.gradient(loss, outputs) * w)

        try:
            (gradient, _), (mixed, is_zero) = (
                _against_differences(each, targets, v) for each in (value, slope)
            )
        except (ValueError, LookupError) as error:
            return ByTargets(case.name, np.nan, np.nan, False, operation_of(error))
    return ByTargets(case.name, gradient, mixed, is_zero)


def _against_differences(
    function: Callable[[tf.Tensor], tf.Tensor], targets: tf.Tensor, v: tf.Tensor
) -> tuple[float, bool]:
    """Return the relative error of a gradient along ``v``, and whether the gradient is exactly 0."""
    with tf.GradientTape() as tape:
        tape.watch(targets)
        value = function(targets)
    with explained():
        gradient = tape.gradient(value, targets, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    numeric, _ = ml.derivatives.central_differences(function, targets, v, STEP["float64"])
    error, size = abs(float(tf.reduce_sum(gradient * v) - numeric)), abs(float(numeric))
    return error / size if size > FLAT else error, not np.any(gradient)
