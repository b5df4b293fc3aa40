"""What an inner step sees of a task: the whole support, or a mini-batch of it."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.types import Structure, Task


@dataclasses.dataclass(frozen=True)
class slices:
    """Mini-batches that a task has side by side: support leaves are ``[S, N, ...]``.

    Step k takes slice ``k mod S``: steps beyond the last slice begin again with the first, like epochs over a
    data set of S batches.

    Attributes:
        count: S, at least 1.

    Raises:
        ValueError: if ``count`` is no positive integer; when called, if a leaf has another number of slices.
    """

    count: int

    def __post_init__(self) -> None:
        require_count("count", self.count)

    def __call__(self, task: Task, step: int | tf.Tensor) -> Structure:
        """Return the slice of inner step ``step``."""
        for leaf in tf.nest.flatten(task.support):
            if leaf.shape.rank is None or leaf.shape.rank < 2 or leaf.shape[0] != self.count:
                raise ValueError(
                    f"slices({self.count}) needs support of a known shape [T, {self.count}, N, ...] for "
                    f"mini-batches of N examples, but one task's has the shape {leaf.shape}"
                )
        index = step % self.count
        if isinstance(index, int):
            return tf.nest.map_structure(lambda leaf: leaf[index], task.support)
        # Not leaf[index]: tasks that continue inner loops have step numbers of their own, and a slice whose
        # bounds differ by task has no vectorised form.
        return tf.nest.map_structure(lambda leaf: tf.gather(leaf, index), task.support)
