"""The workloads of bilevel problems: penalties of a logistic regression, and weights of examples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FEATURES, CLASSES = 20, 10

BATCH = 100
"""Examples of an inner step if examples have weights; penalties use all examples in each step."""

ITERATIONS = 10
"""Outer iterations of a call in other libraries."""


class Rates(NamedTuple):
    """Learning rates of the inner loop, and of the outer one, which has momentum 0.9."""

    inner: float
    outer: float


PENALTIES, WEIGHTS = Rates(0.1, 1.0), Rates(1.0, 0.1)


class Examples(NamedTuple):
    """Inputs ``[N, D]`` and classes ``[N]`` of the inner and of the outer loss."""

    inputs: np.ndarray
    classes: np.ndarray
    asked_inputs: np.ndarray
    asked_classes: np.ndarray


def examples(size: int, classes: int = 2) -> Examples:
    """Return synthetic examples, half of ``size`` for each loss, with classes of a random linear model."""
    random = np.random.default_rng(0)
    inputs, weights = random.normal(size=(size, FEATURES)), random.normal(size=(FEATURES, classes))
    found = np.argmax(inputs @ weights + 0.1 * random.normal(size=(size, classes)), 1).astype(np.int32)
    inner = size // 2
    inputs = inputs.astype(np.float32)
    return Examples(inputs[:inner], found[:inner], inputs[inner:], found[inner:])
