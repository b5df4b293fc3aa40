"""The data of an inner step: mini-batches of a task's support."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.types import Structure, Task


@dataclasses.dataclass(frozen=True)
class slices:
    """Mini-batches that a task stores along its first axis: support leaves are ``[S, N, ...]``.

    Step k takes slice ``k mod S``, like epochs over a data set of S batches.

    Attributes:
        count: S, the number of mini-batches, at least 1.

    Raises:
        ValueError: if ``count`` is not a positive integer; when called, if a leaf has another number of
            slices.
    """

    count: int

    def __post_init__(self) -> None:
        require_count("count", self.count)

    def __call__(self, task: Task, step: int | tf.Tensor) -> Structure:
        """Return the slice of inner step ``step``."""
        for leaf in tf.nest.flatten(task.support):
            if leaf.shape.rank is None or leaf.shape.rank < 2 or leaf.shape[0] != self.count:
                raise ValueError(
                    f"slices({self.count}) needs a support of the known shape [T, {self.count}, N, ...] for "
                    f"mini-batches of N examples, but one task's has the shape {leaf.shape}"
                )
        index = step % self.count
        if isinstance(index, int):
            return tf.nest.map_structure(lambda leaf: leaf[index], task.support)
        # Not leaf[index]: step numbers differ between tasks that continue inner loops, and a slice whose
        # bounds differ between tasks has no vectorised form.
        return tf.nest.map_structure(lambda leaf: tf.gather(leaf, index), task.support)
