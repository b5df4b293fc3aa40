"""The image workload: MAML with conv4 on synthetic characters, with the settings of all programs."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

TASKS, WAYS, QUERIES, FILTERS, BLOCKS = 32, 5, 1, 64, 4

INNER_RATE, OUTER_RATE = 0.4, 1e-3

CLASSES, DRAWINGS, SIZE = 150, 20, 28

ITERATIONS = 5
"""Iterations of a call."""


class Tasks(NamedTuple):
    """Tasks: images ``[T, N, SIZE, SIZE, 1]`` from 0 to 1 and classes ``[T, N]``, class after class."""

    support: np.ndarray
    support_classes: np.ndarray
    query: np.ndarray
    query_classes: np.ndarray


@functools.cache
def characters() -> np.ndarray:
    """Return classes of noisy patterns, uint8 ``[CLASSES, DRAWINGS, SIZE, SIZE, 1]``."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 200, (CLASSES, 1, SIZE, SIZE, 1))
    return (patterns + random.integers(0, 56, (CLASSES, DRAWINGS, SIZE, SIZE, 1))).astype(np.uint8)


def sample(random: np.random.Generator, shots: int) -> Tasks:
    """Draw a meta-batch."""
    classes = np.argsort(random.random((TASKS, CLASSES)), 1)[:, :WAYS]
    drawings = np.argsort(random.random((TASKS, WAYS, DRAWINGS)), 2)[:, :, : shots + QUERIES]
    images = characters()[classes[:, :, None], drawings].astype(np.float32) / 255

    def part(each: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = np.tile(np.repeat(np.arange(WAYS), each.shape[2]), (TASKS, 1))
        return each.reshape(TASKS, -1, SIZE, SIZE, 1), labels

    return Tasks(*part(images[:, :, :shots]), *part(images[:, :, shots:]))


def kernels() -> list[tuple[int, int]]:
    """Return input and output channels of every convolution."""
    return [(FILTERS if block else 1, FILTERS) for block in range(BLOCKS)]
