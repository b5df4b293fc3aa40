"""Adversarial examples in a ball of the maximum norm: the fast gradient sign method and PGD."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from metalearn import losses
from metalearn.autodiff import value_and_gradient
from metalearn.checks import require_count, require_finite, require_positive, require_range
from metalearn.execution.layout import FUSED_STEPS
from metalearn.execution.loops import fold
from metalearn.nest import as_type
from metalearn.nn import functional
from metalearn.problems import MetaLearner
from metalearn.random import fold_in, uniform
from metalearn.types import Batch, Loss, Meta, Seed

Answer = Callable[[tf.Tensor], tf.Tensor]
"""A model with fixed parameters: ``inputs -> outputs``."""

STREAM = 0x61747461
"""Folded into the seed of random starts, so that they are independent of tasks drawn with it."""


@dataclasses.dataclass(frozen=True)
class Attack:
    """Projected steepest ascent of a loss in a ball of the maximum norm; see :func:`fgsm`, :func:`pgd`.

    ::

        x_{i+1} = clip(clip(x_i + step_size sign(grad loss(x_i)), x - radius, x + radius), *bounds)

    Attributes:
        radius: the radius of the ball, at least 0.
        steps: the number of steps, at least 1.
        step_size: the step size, above 0; None for ``2.5 radius / steps``, which can reach the boundary from
            any start.
        seed: two integers, the seed of a start that is uniform in the ball; None to start from the inputs.
        bounds: the smallest and the largest value of the data; None for no bounds.

    Raises:
        ValueError: naming the number that is out of range.
    """

    radius: float
    steps: int
    step_size: float | None = None
    seed: Seed | None = None
    bounds: Sequence[float] | None = None

    def __post_init__(self) -> None:
        require_finite("radius", self.radius)
        if self.radius < 0:
            raise ValueError(
                f"radius must be at least 0, got {self.radius}: it is a distance from the inputs"
            )
        require_count("steps", self.steps)
        if self.step_size is not None:
            require_positive("step_size", self.step_size)
        if self.bounds is not None:
            require_range("bounds", self.bounds)

    def __call__(
        self,
        model: keras.Model | MetaLearner | Answer,
        inputs: tf.Tensor,
        targets: tf.Tensor,
        *,
        loss: str | Loss = "cross_entropy",
        meta: Meta | None = None,
        support: Batch | None = None,
    ) -> tf.Tensor:
        """Return adversarial examples of a model.

        Args:
            model: a Keras model, which is called in inference mode; a ``MetaLearner``; or a function
                ``inputs -> outputs``.
            inputs: ``[N, ...]``, floating point.
            targets: ``[N]``, or the targets of ``loss``.
            loss: ``(targets, outputs) -> scalar`` that is maximised, or its name.
            meta: the meta-parameters of a ``MetaLearner``.
            support: examples that a ``MetaLearner`` adapts to first, leaves ``[N, ...]``; None to attack the
                initial parameters.

        Returns:
            ``[N, ...]``, within ``radius`` of the inputs. No gradient flows through it.

        Raises:
            ValueError: if inputs are not floating point or out of bounds, classes are out of range, or
                ``meta`` is missing for a ``MetaLearner`` or given for another model.
        """
        if isinstance(model, MetaLearner) is (meta is None) or (meta is None and support is not None):
            raise ValueError(
                "meta is required with a MetaLearner; other models take neither meta nor support"
            )
        if isinstance(model, MetaLearner):
            model = model.to_keras(meta, support)
        answer = _of_keras(model) if isinstance(model, keras.Model) else model
        objective = losses.get(loss)
        return self.maximize(lambda x: objective(targets, answer(x)), tf.convert_to_tensor(inputs))

    def maximize(self, loss: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
        """Return inputs with a high loss in the ball around ``inputs``, as constants.

        Args:
            loss: ``inputs -> scalar``, a mean over independent examples.
            inputs: floating point, with a known shape if the start is random.

        Raises:
            ValueError: if inputs are not floating point, or known to be out of bounds.
        """
        if not inputs.dtype.is_floating:
            raise ValueError(
                f"inputs are {inputs.dtype.name}, but an attack adds small numbers: cast them to floats"
            )
        self._require_within(inputs)
        if not self.radius:
            return tf.stop_gradient(inputs)
        radius = as_type(self.radius, inputs.dtype)
        size = self.step_size or 2.5 * self.radius / self.steps
        low, high = self._within(inputs - radius), self._within(inputs + radius)

        def ascend(x: tf.Tensor, _: Any) -> tf.Tensor:
            _, gradient = value_and_gradient(loss, x)
            moved = x + as_type(size, x.dtype) * tf.sign(gradient)
            return tf.stop_gradient(tf.minimum(tf.maximum(moved, low), high))

        start = inputs
        if self.seed is not None:
            noise = uniform(inputs.shape, fold_in(self.seed, STREAM), inputs.dtype, -1.0, 1.0)
            start = self._within(inputs + radius * noise)
        return fold(ascend, tf.stop_gradient(start), self.steps, in_graph=self.steps > FUSED_STEPS)

    def _within(self, x: tf.Tensor) -> tf.Tensor:
        return x if self.bounds is None else tf.clip_by_value(x, *self.bounds)

    def _require_within(self, inputs: tf.Tensor) -> None:
        """Raise ValueError if inputs with known values are out of bounds."""
        values = None if self.bounds is None else tf.get_static_value(inputs)
        if values is not None and values.size and self.bounds:
            low, high = values.min(), values.max()
            if low < self.bounds[0] or high > self.bounds[1]:
                raise ValueError(
                    f"inputs go from {low} to {high}, outside the bounds {tuple(self.bounds)}: scale the "
                    "data or change the bounds"
                )


def fgsm(radius: float, *, bounds: Sequence[float] | None = None) -> Attack:
    """Return the fast gradient sign method, ``x + radius sign(grad loss(x))``.

    Args:
        radius: at least 0, in units of the inputs.
        bounds: the smallest and the largest value of the data.

    Raises:
        ValueError: if the radius is negative or the bounds are not an interval.

    Example:
        ::

            worst = ml.attacks.fgsm(0.1, bounds=(0, 1))(model, images, labels)

    Reference: Goodfellow, Shlens and Szegedy (2015), "Explaining and Harnessing Adversarial Examples",
    section 4.
    """
    return Attack(radius, steps=1, step_size=radius or None, bounds=bounds)


def pgd(
    radius: float,
    steps: int = 20,
    step_size: float | None = None,
    *,
    seed: Seed | None = None,
    bounds: Sequence[float] | None = None,
) -> Attack:
    """Return projected gradient ascent in a ball of the maximum norm, see :class:`Attack`.

    Args:
        radius: at least 0, in units of the inputs.
        steps: at least 1.
        step_size: above 0; ``2.5 radius / steps`` by default.
        seed: two integers, the seed of the random start; None to start from the inputs.
        bounds: the smallest and the largest value of the data.

    Raises:
        ValueError: naming the number that is out of range.

    Reference: Madry et al. (2018), "Towards Deep Learning Models Resistant to Adversarial Attacks",
    section 2.1.
    """
    return Attack(radius, steps, step_size, seed, bounds)


def pgd_at(
    radii: Sequence[float], steps: int = 20, *, bounds: Sequence[float] | None = None
) -> tuple[Attack, ...]:
    """Return :func:`pgd` for each of several radii, for example as ``judges`` of :class:`Robust`.

    Args:
        radii: each at least 0, in units of the inputs.
        steps: at least 1.
        bounds: the smallest and the largest value of the data.

    Raises:
        ValueError: naming the number that is out of range.
    """
    return tuple(pgd(radius, steps, bounds=bounds) for radius in radii)


def _of_keras(model: keras.Model) -> Answer:
    parameters = functional.parameters(model)
    return lambda inputs: functional.apply(model, parameters, inputs)
