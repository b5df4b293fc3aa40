"""The batches of queries of a task, on which predictions with batch statistics depend."""

from __future__ import annotations

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.random import fold_in
from metalearn.sources.distinct import draw_distinct
from metalearn.types import Batch, Seed, Structure, Task

AT_ONCE = ("all", "class")
"""The values of ``queries_at_once`` other than numbers."""

ORDER_STREAM = 0x6F726472
"""Folded into a seed, so that the order of queries is independent of tasks drawn with the same seed."""


def require_at_once(at_once: object) -> None:
    """Raise ValueError unless ``at_once`` is ``"all"``, ``"class"`` or a number of at least 1."""
    if isinstance(at_once, str) and at_once not in AT_ONCE:
        raise ValueError(f"queries_at_once must be one of {', '.join(AT_ONCE)} or a number, got {at_once!r}")
    if not isinstance(at_once, str):
        require_count("queries_at_once", at_once)


def batched(tasks: Task, at_once: int | str, seed: Seed) -> Task:
    """Return tasks whose queries are in batches of equal size: leaves ``[T, B, N/B, ...]``.

    Args:
        tasks: leaves ``[T, N, ...]``.
        at_once: ``"all"`` for unchanged tasks, leaves ``[T, N, ...]``; ``"class"`` for a batch of each class;
            or the size of batches of random queries.
        seed: the seed of the random batches.

    Raises:
        ValueError: if the queries cannot be divided into batches of equal size, with the remedy.
    """
    require_at_once(at_once)
    if at_once == "all":
        return tasks
    if not isinstance(tasks.query, Batch):
        raise ValueError(f"queries_at_once={at_once!r} needs queries that are examples: use 'all'")
    count, queries = tf.nest.flatten(tasks.query)[0].shape[:2]
    if at_once == "class":
        order, size = _by_class(tasks.query.targets)
    else:
        size = int(at_once)
        if queries % size:
            raise ValueError(
                f"queries_at_once={size} does not divide the {queries} queries of a task: choose a divisor"
            )
        order = draw_distinct(tf.fill([count], queries), queries, fold_in(seed, ORDER_STREAM))
    shape = [count, queries // size, size]
    return tasks._replace(
        query=tf.nest.map_structure(
            lambda leaf: tf.reshape(tf.gather(leaf, order, batch_dims=1), [*shape, *leaf.shape[2:]]),
            tasks.query,
        )
    )


def _by_class(targets: Structure) -> tuple[tf.Tensor, int]:
    """Return the order that groups queries by class, ``[T, N]``, and the number of queries of a class."""
    if not tf.is_tensor(targets) or not targets.dtype.is_integer or targets.shape.rank != 2:
        raise ValueError(
            "queries_at_once='class' needs classes as targets, integers [T, N]: choose 'all' or a number"
        )
    order = tf.argsort(targets, stable=True)
    sizes = {int(size) for row in targets for size in tf.unique_with_counts(row).count}
    if len(sizes) > 1:
        raise ValueError(
            f"queries_at_once='class' needs the same number of queries of each class, got {sorted(sizes)}: "
            "choose 'all' or a number"
        )
    return order, sizes.pop()
