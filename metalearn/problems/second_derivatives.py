"""Check of the second derivatives that a meta-gradient needs against finite differences.

Some operations of TensorFlow have a wrong first or second derivative and give no warning. A list of known
layers cannot cover user-defined models, so the actual inner loss is checked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metalearn.autodiff import central_differences
from metalearn.autodiff.culprits import found_in
from metalearn.autodiff.failures import explained
from metalearn.autodiff.gradients import dense
from metalearn.execution.choice import log_once
from metalearn.inner_loop import counted, inner_gradient, inner_loss, inner_start
from metalearn.nest import flat, names
from metalearn.problems.learner import Posed
from metalearn.types import Meta, Parameters, Structure, Task

PRECISIONS = {"float64": ((1e-4, 1e-6), 1e-5), "float32": ((1e-2,), 2e-3)}
"""Steps of the differences, in units of a leaf's root mean square, and the tolerated relative error.

A network with tens of thousands of ReLUs has kinks in nearly every interval of 1e-4, but hardly any in
intervals of 1e-6.
"""

AROUND = 0.05
"""Distance of the second point from the initial one in the same units; it avoids the kinks at zero."""

LEAST_STEP = 1e-5
"""For smaller steps, a function that computes in float32 despite float64 inputs may not change at all."""

FINER = 1 / 8
"""Factor of the step that confirms an error: rounding and kinks have other effects, derivatives do not."""

AGREED = 0.1
"""Tolerated distance of two differences that confirm an error, in units of that error."""

TRIES = 3
"""The number of second points to try if a kink is too close for differences to be meaningful."""


class SecondDerivatives(NamedTuple):
    """The result of :func:`check_second_derivatives`.

    Attributes:
        precision: the precision of the comparison: ``"float64"``, or ``"float32"`` if the problem's functions
            do not accept float64.
        error: the largest relative error of a derivative of the inner loss or of its gradient.
        certain: whether the differences were accurate enough; they are not if kinks are everywhere.
    """

    precision: str
    error: float
    certain: bool


def check_second_derivatives(posed: Posed, seed: tuple[int, int] = (0, 0)) -> SecondDerivatives:
    """Compare derivatives of the inner loss and of its gradient with finite differences.

    ::

        s(theta, phi) = <grad_theta l(theta, phi), v>
        <grad s, (a, b)>   against   (s(theta + h a, phi + h b) - s(theta - h a, phi - h b)) / 2h

    for random directions v, a, b, at theta_0 and phi and at a point nearby; and the same for l. Disagreement
    at a kink, where differences are meaningless, is not an error. The check costs two derivatives and 14
    values of each function, for one task in eager execution.

    Args:
        posed: a problem, phi, and tasks of which the first is used.
        seed: the seed of the directions.

    Raises:
        WrongDerivativesError: if they differ, naming the leaves, the operations with known errors, and the
            remedy.
        ValueError: if an operation has no second derivative, naming it.
    """
    for precision, (steps, tolerance) in PRECISIONS.items():
        for step in steps:
            try:
                found = _Check(posed, precision, step, tolerance, seed).run()
            except WrongDerivativesError:
                raise
            except Exception:
                # There are many ways in which a function may fail for float64.
                if precision == "float32":
                    raise
                break
            if found.certain:
                return found
    log_once(
        "the derivatives of the inner loss could not be checked: it has kinks nearly everywhere, or does not "
        "accept float64, and the rounding of float32 is too large"
    )
    return found


class WrongDerivativesError(ValueError):
    """Derivatives of the inner loss differ from finite differences."""


class _Compared(NamedTuple):
    """A derivative by two methods, their relative distance, and the uncertainty of the difference."""

    analytic: float
    numeric: float
    error: float
    doubt: float

    def is_wrong(self, tolerance: float) -> bool:
        return self.error > tolerance + self.doubt


class _Check:
    """The inner loss of one task as a function of a point (theta, phi) in float64, and its comparisons."""

    def __init__(
        self, posed: Posed, precision: str, step: float, tolerance: float, seed: tuple[int, int]
    ) -> None:
        self._problem, self._precision, self._seed = posed.problem, precision, seed
        self._step, self._tolerance = step, tolerance
        phi = _cast(posed.phi, precision)
        self._task: Task = _cast(tf.nest.map_structure(lambda leaf: leaf[0], counted(posed.tasks)), precision)
        begun = inner_start(self._problem, phi, self._task)
        self._model, self._along = begun.model, _scaled(begun.parameters, *seed, 1)
        self._origin = _cast((begun.parameters, phi), "float64")

    def run(self) -> SecondDerivatives:
        kinds = (("first derivatives", self._loss), ("second derivatives", self._slope))
        found = [each for name, function in kinds for each in self._around(name, function)]
        certain = [each.error for each in found if each.doubt <= self._tolerance]
        return SecondDerivatives(self._precision, max(certain, default=np.nan), len(certain) >= len(kinds))

    def _loss(self, point: Structure) -> tf.Tensor:
        parameters, phi, batch = self._given(point)
        return tf.cast(inner_loss(self._problem, parameters, phi, batch, self._model)[0], tf.float64)

    def _slope(self, point: Structure) -> tf.Tensor:
        parameters, phi, batch = self._given(point)
        gradient = inner_gradient(self._problem, parameters, phi, batch, self._model)[2]
        return tf.cast(tf.reduce_sum(flat(gradient) * flat(self._along)), tf.float64)

    def _given(self, point: Structure) -> tuple[Parameters, Meta, Structure]:
        return *_cast(point, self._precision), self._problem.batch(self._task, 0)

    def _around(self, name: str, function: Callable[[Structure], tf.Tensor]) -> list[_Compared]:
        """Compare at the initial point and at a nearby point off kinks; raise if a derivative is wrong."""
        found = [self._compared(function, self._origin)]
        for number in range(TRIES):
            found.append(self._compared(function, self._nearby(number)))
            if found[-1].doubt <= self._tolerance:
                break
        for place, compared in enumerate(found):
            if compared.is_wrong(self._tolerance):
                point = self._nearby(place - 1) if place else self._origin
                raise WrongDerivativesError(self._message(name, function, point, compared))
        return found

    def _nearby(self, number: int) -> Structure:
        offset = _scaled(self._origin, *self._seed, 2, number)
        return tf.nest.map_structure(lambda leaf, along: leaf + AROUND * along, self._origin, offset)

    def _compared(
        self, function: Callable[[Structure], tf.Tensor], point: Structure, leaf: int | None = None
    ) -> _Compared:
        """Compare at a point along a random direction, restricted to one leaf if ``leaf`` is given."""
        direction = _scaled(point, *self._seed, 3)
        if leaf is not None:
            leaves = tf.nest.flatten(direction)
            kept = [each if index == leaf else tf.zeros_like(each) for index, each in enumerate(leaves)]
            direction = tf.nest.pack_sequence_as(direction, kept)
        difference = functools.partial(central_differences, function, point, direction)
        terms = flat(_derivative(function, point)) * flat(direction)
        analytic, size = float(tf.reduce_sum(terms)), float(tf.norm(terms))
        numeric, uncertain = map(float, difference(self._step))
        smallest = float(np.finfo(self._precision).tiny)
        scale = max(abs(numeric), size if np.isfinite(size) else smallest, smallest)
        off = abs(analytic - numeric) if np.isfinite(analytic) else np.inf
        compared = _Compared(analytic, numeric, off / scale, uncertain / scale)
        drowned = not numeric and self._precision == "float64" and self._step < LEAST_STEP
        if not np.isfinite(numeric) or drowned:
            return compared._replace(doubt=np.inf)
        if compared.is_wrong(self._tolerance):
            finer = float(difference(FINER * self._step)[0])
            if not abs(finer - numeric) <= AGREED * off:
                return compared._replace(doubt=np.inf)
        return compared

    def _message(
        self, name: str, function: Callable[[Structure], tf.Tensor], point: Structure, compared: _Compared
    ) -> str:
        wrong = []
        for index, leaf in enumerate(names(self._origin)):
            alone = self._compared(function, point, index)
            if alone.is_wrong(self._tolerance):
                which, _, rest = leaf.partition("/")
                where = f"{'theta' if which == '0' else 'phi'} {rest}".strip()
                wrong.append(f"{where} ({alone.analytic:.3g} instead of {alone.numeric:.3g})")
        graph = tf.__internal__.FuncGraph("inner_loss")
        with graph.as_default():
            self._slope(_placeholders(self._origin))
        known = "; ".join(found_in(graph)) or "no operation in it"
        which = f"; wrong with respect to {', '.join(wrong)}" if wrong else ""
        return (
            f"the {name} of the inner loss are wrong, and so would be meta-gradients: along a random "
            f"direction TensorFlow gives {compared.analytic:.4g}, differences in {self._precision} give "
            f"{compared.numeric:.4g}{which}. Known to be wrong: {known}. Write it with other operations, "
            "or use the estimator first_order, which needs no second derivatives; if it is intended (a "
            "stop_gradient, a straight-through estimate), disable the check: check_derivatives=False"
        )


def _derivative(function: Callable[[Structure], tf.Tensor], point: Structure) -> Structure:
    with tf.GradientTape() as tape:
        tape.watch(point)
        value = function(point)
    with explained():
        return dense(tape.gradient(value, point, unconnected_gradients=tf.UnconnectedGradients.ZERO))


def _placeholders(structure: Structure) -> Structure:
    return tf.nest.map_structure(lambda leaf: tf.compat.v1.placeholder(leaf.dtype, leaf.shape), structure)


def _scaled(structure: Structure, *seed: int) -> Structure:
    """Return random directions with the root mean square of their leaves, or 1 for leaves of zeros."""
    random = np.random.default_rng(seed)  # only used eagerly, where TensorFlow's draws are slow

    def drawn(leaf: tf.Tensor) -> tf.Tensor:
        size = float(np.sqrt(np.mean(np.square(leaf.numpy())))) if leaf.shape.num_elements() else 1.0
        return tf.constant((size or 1.0) * random.standard_normal(leaf.shape), leaf.dtype)

    return tf.nest.map_structure(drawn, structure)


def _cast(structure: Structure, precision: str) -> Structure:
    tensors = tf.nest.map_structure(tf.convert_to_tensor, structure)
    return tf.nest.map_structure(
        lambda leaf: tf.cast(leaf, precision) if leaf.dtype.is_floating else leaf, tensors
    )
