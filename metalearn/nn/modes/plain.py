"""The mode of models without batch statistics."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from metalearn.nn import functional
from metalearn.nn.modes.protocol import Judged, Mode, Step, Trained
from metalearn.types import Parameters, Structure


@dataclasses.dataclass(frozen=True)
class Plain(Mode):
    """The mode of models without batch statistics: inner steps are training calls only for random layers.

    Attributes:
        seeded: whether the model has layers that draw random numbers in training.
    """

    seeded: bool = False

    def inner(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        inputs: Structure,
        step: Step,
        noise: tf.Tensor | None,
    ) -> Trained:
        """Call the model on the support, in training mode if it is seeded."""
        outputs, losses, _ = functional.call(
            model, parameters, inputs, training=self.seeded, noise=noise if self.seeded else None
        )
        return outputs, losses, state

    def outer(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        support_inputs: Structure,
        query_inputs: Structure,
        step: Step,
    ) -> Judged:
        """Call the model on the queries in inference mode."""
        return functional.call(model, parameters, query_inputs)[:2]
