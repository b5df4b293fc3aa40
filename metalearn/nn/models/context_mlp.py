"""A multilayer perceptron with context parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.nn.models.mlp import build_mlp


def context_mlp(
    input_size: int = 1,
    hidden: Sequence[int] = (40, 40),
    output_size: int = 1,
    context: int = 4,
    activation: str = "relu",
    dtype: str | None = None,
) -> keras.Model:
    """Build a multilayer perceptron whose inputs are concatenated with a trainable vector: ``[x, context]``.

    The vector is the parameter ``context/context``. In CAVIA only this vector is adapted
    (``adapted="context"``); it identifies the task for the shared network.

    Args:
        input_size: the length of an input vector, at least 1.
        hidden: the width of each hidden layer, each at least 1.
        output_size: the length of an output vector, at least 1.
        context: the length of the context vector, at least 1.
        activation: any Keras activation.
        dtype: the type of parameters and arithmetic; Keras' ``floatx`` by default.

    Returns:
        A built model ``[N, input_size] -> [N, output_size]``.

    Raises:
        ValueError: if a size is not a positive integer.

    Reference: Zintgraf et al. (2019), "Fast Context Adaptation via Meta-Learning", equation 3.
    """
    require_count("context", context)
    dtype = dtype or keras.config.floatx()
    joined = [Context(context, name="context", dtype=dtype)]
    return build_mlp(input_size, hidden, output_size, activation, dtype, joined)


@keras.saving.register_keras_serializable(package="metalearn")
class Context(keras.layers.Layer):
    """Appends a trainable vector to every input: ``[N, D] -> [N, D + size]``, initially zeros."""

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(**options)
        self.size = size

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the vector."""
        self.context = self.add_weight(name="context", shape=(self.size,), initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the inputs with the vector appended."""
        # Not tf.concat: under XLA, TensorFlow has no second derivative of the slices in its gradient.
        places = tf.eye(inputs.shape[-1] + self.size, dtype=inputs.dtype)
        of_inputs, of_context = tf.split(places, [inputs.shape[-1], self.size])
        context = tf.convert_to_tensor(self.context)[None]
        return tf.matmul(inputs, of_inputs) + tf.matmul(context, of_context)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the shape of the outputs."""
        return (*input_shape[:-1], input_shape[-1] + self.size)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "size": self.size}
