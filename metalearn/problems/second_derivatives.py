"""Whether the second derivatives that a meta-gradient is made of are right: held against differences.

TensorFlow has operations whose gradient, or whose gradient's gradient, is wrong without a word. A list
of layers cannot know what a model of one's own contains, so the actual inner loss is asked.
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
"""Steps of the differences, in units of a leaf's typical entry, and the relative error that is tolerated.

A network of tens of thousands of ReLUs has kinks within every 1e-4, and hardly any within 1e-6.
"""

AROUND = 0.05
"""How far from the initial point the other one is, likewise: off the kinks of zero biases and inputs."""

LEAST_STEP = 1e-5
"""Below it, a function that computes in float32 although it is asked in float64 may not change at all."""

FINER = 1 / 8
"""By how much the step is cut to confirm an error: rounding and kinks change with it, derivatives do not."""

AGREED = 0.1
"""How far two differences that confirm one another may be apart, in units of the error that they confirm."""

TRIES = 3
"""Other points, if a kink lies too close to the one before for differences to say anything."""


class SecondDerivatives(NamedTuple):
    """What was found.

    Attributes:
        precision: that of the comparison: ``"float64"``, or ``"float32"`` where the problem's functions do
            not take float64.
        error: largest relative error of a derivative of the inner loss or of its gradient.
        certain: whether differences could tell: not if kinks lie everywhere.
    """

    precision: str
    error: float
    certain: bool


def check_second_derivatives(posed: Posed, seed: tuple[int, int] = (0, 0)) -> SecondDerivatives:
    """Compare derivatives of the inner loss and of its gradient with differences.

    ::

        s(theta, phi) = <grad_theta l(theta, phi), v>
        <grad s, (a, b)>   against   (s(theta + h a, phi + h b) - s(theta - h a, phi - h b)) / 2h

    for random directions v, a, b, at theta_0 and phi, and at a point nearby; and the same of l. A kink, where
    differences say nothing, refutes nothing. It costs two derivatives and 14 values of each, of one task, in
    eager execution.

    Args:
        posed: a problem, phi, and tasks of which the first is taken.
        seed: of the directions.

    Raises:
        WrongDerivativesError: if they differ, with the leaves that they differ at, the operations that are
            known to be wrong, and the remedy.
        ValueError: if an operation has no second derivative, naming it.
    """
    for precision, (steps, tolerance) in PRECISIONS.items():
        for step in steps:
            try:
                found = _Check(posed, precision, step, tolerance, seed).run()
            except WrongDerivativesError:
                raise
            except Exception:
                # A function may fail to take float64 in any number of ways.
                if precision == "float32":
                    raise
                break
            if found.certain:
                return found
    log_once(
        "whether the derivatives of the inner loss are right could not be found out: kinks hide them, or it "
        "takes no float64, and in float32 rounding does"
    )
    return found


class WrongDerivativesError(ValueError):
    """Derivatives differ from differences."""


class _Compared(NamedTuple):
    """A derivative, twice, and in units of its size how far the two are apart and differences can be off."""

    analytic: float
    numeric: float
    error: float
    doubt: float

    def is_wrong(self, tolerance: float) -> bool:
        return self.error > tolerance + self.doubt


class _Check:
    """The inner loss of one task as a function of a point (theta, phi) in float64, and what is held to it."""

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
        """Compare at the initial point and at one nearby that is no kink; raise if a derivative is wrong."""
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
        """Compare at a point along a random direction, in one of the leaves if it is given."""
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
                wrong.append(f"{where} ({alone.analytic:.3g} in place of {alone.numeric:.3g})")
        graph = tf.__internal__.FuncGraph("inner_loss")
        with graph.as_default():
            self._slope(_placeholders(self._origin))
        known = "; ".join(found_in(graph)) or "no operation in it"
        which = f"; wrong with respect to {', '.join(wrong)}" if wrong else ""
        return (
            f"the {name} of the inner loss are wrong, and so would be meta-gradients: along a random "
            f"direction TensorFlow gives {compared.analytic:.4g}, differences in {self._precision} give "
            f"{compared.numeric:.4g}{which}. Known to be wrong: {known}. Write it out in other operations, "
            "or use the estimator first_order, which takes no second derivatives; where it is meant so (a "
            "stop_gradient, a straight-through estimate), turn the check off: check_derivatives=False"
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
    """Return random directions, with entries as large as those of their leaf, or 1 where that is zero."""
    random = np.random.default_rng(seed)  # in eager execution alone, where TensorFlow's draws take long

    def drawn(leaf: tf.Tensor) -> tf.Tensor:
        size = float(np.sqrt(np.mean(np.square(leaf.numpy())))) if leaf.shape.num_elements() else 1.0
        return tf.constant((size or 1.0) * random.standard_normal(leaf.shape), leaf.dtype)

    return tf.nest.map_structure(drawn, structure)


def _cast(structure: Structure, precision: str) -> Structure:
    tensors = tf.nest.map_structure(tf.convert_to_tensor, structure)
    return tf.nest.map_structure(
        lambda leaf: tf.cast(leaf, precision) if leaf.dtype.is_floating else leaf, tensors
    )
