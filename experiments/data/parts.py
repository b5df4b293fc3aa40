"""One data set in disjoint parts: for the inner loss, the outer loss, validation and test."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

import metalearn as ml
from metalearn.random import uniform

from ..harness.errors import UsageError

Arrays = tuple[np.ndarray, np.ndarray]
"""Inputs ``[N, ...]`` and targets ``[N]``."""

ASKED = {"train": 1, "validation": 2, "test": 3}
"""For each part, the index in ``sizes`` of the number of its queries."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """The arrays that ``split`` returns: inner examples are the support, examples of the part are the query.

    Attributes:
        inner: the examples of the inner loss; if there are none, the query is also the support.
        asked: the examples of the outer loss, of validation and of the test, by part.
        info: arrays for the metrics of a learner, by part and name.
        batch: the number of examples of the outer loss in an iteration; None for all. The other parts are
            always complete.
    """

    inner: Arrays
    asked: dict[str, Arrays]
    info: dict[str, dict[str, np.ndarray]]
    batch: int | None = None

    def split(self, part: str) -> ml.tasks.Source:
        """Return the source of a part: ``"train"``, ``"validation"`` or ``"test"``.

        Raises:
            ValueError: if the part has no examples.
        """
        asked = self.asked[part]
        if not len(asked[1]):
            raise ValueError(
                f"there are no examples for the part {part}: raise number {ASKED[part] + 1} of task.sizes"
            )
        if self.batch is not None:
            size = min(self.batch, len(asked[1])) if part == "train" else len(asked[1])
            return Drawn(ml.tasks.dataset(asked).query, size)
        inner = self.inner if len(self.inner[1]) else asked
        return ml.tasks.dataset(ml.Task(inner, asked, info=self.info.get(part, {})))


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """Mini-batches of different examples of a data set as queries, with the same examples as support.

    It is faster for hundreds of examples than :func:`metalearn.tasks.dataset`, which draws them one by one.
    """

    asked: ml.Batch
    batch: int

    def sample(self, seed: ml.types.Seed, tasks: int) -> ml.Task:
        """Draw examples ``[tasks, batch, ...]``, a pure function of the seed."""
        keys = uniform([tasks, *self.asked.targets.shape], seed)
        rows = tf.argsort(keys, stable=True)[:, : self.batch]
        drawn = tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows), self.asked)
        return ml.Task(drawn, drawn)


def in_parts(given: Arrays, sizes: Sequence[int], seed: int) -> tuple[Arrays, dict[str, Arrays]]:
    """Return the examples of the inner loss, and the others by part, in an order that depends on the seed.

    Raises:
        UsageError: if there are fewer examples than the parts need.
    """
    inputs, targets = given
    if sum(sizes) > len(targets):
        raise UsageError(
            f"task.sizes={list(sizes)} are {sum(sizes)} examples, but there are {len(targets)}: lower them"
        )
    order = np.random.default_rng(seed).permutation(len(targets))
    cuts = np.split(order[: sum(sizes)], np.cumsum(sizes)[:-1])
    parts = [(inputs[rows], targets[rows]) for rows in cuts]
    return parts[0], {part: parts[index] for part, index in ASKED.items()}
