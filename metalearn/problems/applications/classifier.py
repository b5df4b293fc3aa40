"""A Keras classifier as a function of its parameters, for problems that train one from scratch."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from metalearn.nn import functional
from metalearn.nn.stateful import batch_statistics, seeded_layers
from metalearn.types import Batch, Parameters, Structure


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A model ``[N, ...] -> logits [N, C]`` without batch statistics and without random layers.

    Attributes:
        model: a built Keras model of this kind.

    Raises:
        ValueError: if the model is not of this kind, naming the layers and the remedy.
    """

    model: keras.Model

    def __post_init__(self) -> None:
        if not isinstance(self.model, keras.Model) or not self.model.built:
            raise ValueError(f"model must be a built Keras model, got {self.model!r}: give it an Input")
        shape = getattr(self.model, "output_shape", None)
        if not isinstance(shape, tuple) or len(shape) != 2 or not shape[1] or shape[1] < 2:
            raise ValueError(
                f"model has to return logits [N, C] of at least two classes, but its outputs are {shape}"
            )
        for kind, layers in (
            ("batch statistics", batch_statistics(self.model)),
            ("random draws in training", seeded_layers(self.model)),
        ):
            if layers:
                raise ValueError(
                    f"{', '.join(layers)} of model {self.model.name!r} has {kind}, which this "
                    "problem does not support: remove the layer, or use MetaLearner(..., statistics=)"
                )

    @property
    def classes(self) -> int:
        """C."""
        return self.model.output_shape[1]

    def __call__(self, theta: Parameters, inputs: Structure) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the logits and the sum of the model's own losses (regularisers), a scalar."""
        logits, added, _ = functional.call(self.model, theta, inputs)
        return logits, tf.zeros([], logits.dtype) if added is None else tf.cast(added, logits.dtype)


def consecutive(examples: Batch, step: int | tf.Tensor, size: int) -> tuple[Batch, tf.Tensor]:
    """Return the mini-batch of inner step k and its rows ``k size, k size + 1, ...``, modulo their number."""
    rows = (step * size + tf.range(size)) % examples.targets.shape[0]
    return tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows), examples), rows


def require_classes(what: str, targets: tf.Tensor, classes: int) -> None:
    """Raise ValueError, naming the remedy, unless targets are classes ``[N]`` from 0 to ``classes - 1``.

    Values are checked only if they are known: a learner passes those of the first task.
    """
    if not targets.dtype.is_integer or targets.shape.rank != 1:
        raise ValueError(
            f"{what}: targets have to be integers [N], but they are {targets.dtype.name} {targets.shape}: "
            "cast classes to int32"
        )
    values = tf.get_static_value(targets)
    if values is not None and values.size and not 0 <= values.min() <= values.max() < classes:
        raise ValueError(
            f"{what}: targets are classes from {values.min()} to {values.max()}, but there are {classes}, "
            f"0 to {classes - 1}: relabel them, or give the model more outputs"
        )
