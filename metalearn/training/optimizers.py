"""The outer optimizers: one Keras optimizer for phi, or one for each of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from metalearn.checks import require_positive
from metalearn.nest import names
from metalearn.types import Meta

Given: TypeAlias = "keras.optimizers.Optimizer | Mapping[str, keras.optimizers.Optimizer]"


class Optimizers:
    """Keras optimizers and the variables that they update.

    Args:
        given: an unused optimizer, or a dict with one for each top-level part of phi.
        phi: the initial values.

    Attributes:
        variables: one for each leaf of phi, in order.

    Raises:
        ValueError: if an optimizer has been used or is given twice, a constant learning rate is not positive,
            a setting would have no effect or a wrong one, or the parts are not those of phi.
    """

    def __init__(self, given: Given, phi: Meta) -> None:
        parts = dict(given) if isinstance(given, Mapping) else {"": given}
        if isinstance(given, Mapping):
            _require_parts(parts, phi)
        self.names = names(phi)
        self.variables = [
            keras.Variable(value, dtype=value.dtype, name=name.replace("/", ".") or "phi")
            for name, value in zip(self.names, tf.nest.flatten(phi), strict=True)
        ]
        self._parts = parts
        self._places: dict[str, list[int]] = {}
        for part, optimizer in parts.items():
            _require_usable(optimizer)
            places = [
                place
                for place, name in enumerate(self.names)
                if not part or name == part or name.startswith(f"{part}/")
            ]
            optimizer.build([self.variables[place] for place in places])
            self._places[part] = places

    def apply(self, gradients: list[tf.Tensor]) -> None:
        """Update the variables with the gradients, one for each."""
        for part, optimizer in self._parts.items():
            places = self._places[part]
            optimizer.apply(
                [gradients[place] for place in places], [self.variables[place] for place in places]
            )

    def learning_rates(self) -> dict[str, tf.Tensor]:
        """Return the current rates: ``learning_rate``, or ``learning_rate/<part>``."""
        return {
            f"learning_rate/{part}" if part else "learning_rate": tf.convert_to_tensor(
                optimizer.learning_rate
            )
            for part, optimizer in self._parts.items()
        }

    def rate_names(self) -> list[str]:
        """Return the keys of :meth:`learning_rates`."""
        return [f"learning_rate/{part}" if part else "learning_rate" for part in self._parts]

    def configs(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return part, class and settings of each optimizer, without names, which have counters."""
        return [
            (part, type(optimizer).__qualname__, {**optimizer.get_config(), "name": ""})
            for part, optimizer in self._parts.items()
        ]

    def named(self) -> dict[str, keras.Variable]:
        """Return all variables, phi and the optimizers' own, with stable names."""
        moved = {f"meta/{name}": each for name, each in zip(self.names, self.variables, strict=True)}
        return moved | dict(self.state())

    def state(self) -> list[tuple[str, keras.Variable]]:
        """Return the optimizers' own variables with stable names."""
        # Keras' paths start with the optimizer's name, which contains a counter of the process.
        return [
            ("/".join(filter(None, ("optimizer", part, variable.path.partition("/")[2]))), variable)
            for part, optimizer in self._parts.items()
            for variable in optimizer.variables
        ]


def _require_parts(parts: Mapping[str, object], phi: Meta) -> None:
    known = set(phi) if isinstance(phi, Mapping) else set()
    # A part without leaves (a rule that learns nothing) needs no optimizer.
    needed = {key for key in known if tf.nest.flatten(phi[key])}
    if missing_or_unknown := sorted((needed - set(parts)) | (set(parts) - needed)):
        raise ValueError(
            f"optimizer has the parts {', '.join(sorted(parts)) or 'none'}, phi has "
            f"{', '.join(sorted(needed)) or 'no named parts'}: {', '.join(missing_or_unknown)} "
            "is in one of the two only; give one optimizer for each part, or a single one for all"
        )


def _require_usable(optimizer: object) -> None:
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ValueError(
            f"optimizer must be a Keras optimizer such as keras.optimizers.Adam(1e-3), got {optimizer!r}"
        )
    if optimizer.built:
        raise ValueError(
            "the optimizer already holds the state of another training, or of another part of phi: make a "
            "new one"
        )
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if scaled or optimizer.loss_scale_factor is not None:
        raise ValueError(
            f"the optimizer {type(optimizer).__name__} divides gradients by the scale of a loss, but the "
            f"meta-loss is not scaled: {'give its inner optimizer' if scaled else 'omit loss_scale_factor'}"
        )
    if optimizer.use_ema and not optimizer.ema_overwrite_frequency:
        raise ValueError(
            "the optimizer has use_ema=True but no ema_overwrite_frequency, so its moving average would only "
            "be used at the end of a training, which a trainer does not know: set ema_overwrite_frequency to "
            "a number of iterations, or omit use_ema"
        )
    rate = optimizer.get_config().get("learning_rate")
    if rate is not None and not isinstance(rate, dict):  # a dict is a schedule, which may start at 0
        require_positive("the optimizer's learning_rate", rate)
