"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from metalearn.checks import require_count
from metalearn.nn.layers import Dense


def mlp(
    input_size: int = 1,
    hidden: Sequence[int] = (40, 40),
    output_size: int = 1,
    activation: str = "relu",
    dtype: str | None = None,
) -> keras.Model:
    """Build a multilayer perceptron; the defaults are the sinusoid regressor of MAML.

    ``hidden_i = activation(hidden_{i-1} W_i + b_i)``, then a linear layer ``output``. Weights are initialised
    Glorot-uniform, biases with zeros.

    Args:
        input_size: the length of an input vector, at least 1.
        hidden: the width of each hidden layer, each at least 1; empty for a linear model.
        output_size: the length of an output vector, at least 1.
        activation: any Keras activation. ``softsign`` has no second derivative in TensorFlow.
        dtype: the type of parameters and arithmetic, Keras' ``floatx`` by default; or a policy like
            ``"mixed_bfloat16"``, with which hidden layers compute in bfloat16, while parameters, their
            meta-gradient and the output layer are in float32.

    Returns:
        A built model ``[N, input_size] -> [N, output_size]``.

    Raises:
        ValueError: if a size is not a positive integer.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", section 5.1.
    """
    return build_mlp(input_size, hidden, output_size, activation, dtype or keras.config.floatx(), [])


def build_mlp(
    input_size: int,
    hidden: Sequence[int],
    output_size: int,
    activation: str,
    dtype: str,
    before: list[keras.layers.Layer],
) -> keras.Model:
    """Build the network of :func:`mlp` with additional first layers ``before``."""
    require_count("input_size", input_size)
    require_count("output_size", output_size)
    if not isinstance(hidden, Sequence) or isinstance(hidden, str):
        raise ValueError(f"hidden must be a list of widths, got {hidden!r}")
    for index, width in enumerate(hidden):
        require_count(f"hidden[{index}]", width)
    layers = [
        Dense(width, activation, name=f"hidden_{index}", dtype=dtype) for index, width in enumerate(hidden)
    ]
    of_parameters = keras.dtype_policies.get(dtype).variable_dtype
    return keras.Sequential(
        [
            keras.Input((input_size,), dtype=of_parameters),
            *before,
            *layers,
            Dense(output_size, name="output", dtype=of_parameters),
        ],
        name="mlp",
    )
