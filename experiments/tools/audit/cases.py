"""Cases of the audit, and the random inputs on which they are measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Draw = Callable[[np.random.Generator], np.ndarray]
"""One random input. Floating-point inputs are differentiated, integers are not."""


class Case(NamedTuple):
    """A function whose second derivatives are measured.

    Attributes:
        name: the name in Keras, with a remark on the case in brackets.
        family: the group under which tables list it.
        function: the function of the inputs, in order. That of a layer makes the layer and calls it on
            symbolic inputs.
        inputs: the functions that draw them.
        is_layer: whether ``function`` makes a layer.
        single: whether to measure in float32, as TensorFlow computes in nothing finer there.
    """

    name: str
    family: str
    function: Callable[..., Any]
    inputs: tuple[Draw, ...]
    is_layer: bool = False
    single: bool = False

    @property
    def keras_name(self) -> str:
        """The name without the remark on the case."""
        return self.name.partition(" ")[0]


def normal(*shape: int) -> Draw:
    """Draw standard normal numbers."""
    return lambda random: random.normal(size=shape)


def spaced(*shape: int) -> Draw:
    """Draw a random order of evenly spaced numbers, so that no two are close, where maxima have kinks."""
    size = int(np.prod(shape))
    return lambda random: random.permutation(size).reshape(shape) / 4 - size / 8


def integers(*shape: int, below: int, start: int = 0) -> Draw:
    """Draw integers from ``start`` on."""
    return lambda random: random.integers(start, below, size=shape)


def probabilities(*shape: int) -> Draw:
    """Draw rows of positive numbers with the sum 1."""
    return lambda random: random.dirichlet([4.0] * shape[-1], size=shape[:-1])


def one_hot(*shape: int) -> Draw:
    """Draw one-hot rows of integers."""
    return lambda random: np.eye(shape[-1], dtype=int)[random.integers(0, shape[-1], size=shape[:-1])]


def signs(*shape: int) -> Draw:
    """Draw integers that are -1 or 1."""
    return lambda random: random.choice([-1, 1], size=shape)
