"""Which queries of a task a model is given together: with batch statistics, answers depend on it."""

from __future__ import annotations

import tensorflow as tf

from metalearn.checks import require_count
from metalearn.random import fold_in
from metalearn.sources.distinct import draw_distinct
from metalearn.types import Batch, Seed, Structure, Task

AT_ONCE = ("all", "class")
"""The words for how many queries are answered at once, beside a number."""

ORDER_STREAM = 0x6F726472
"""Folded into a seed, so that the order of queries is independent of the tasks that are drawn with it."""


def require_at_once(at_once: object) -> None:
    """Raise ValueError unless ``at_once`` is one of the words or a number of at least 1."""
    if isinstance(at_once, str) and at_once not in AT_ONCE:
        raise ValueError(f"queries_at_once must be one of {', '.join(AT_ONCE)} or a number, got {at_once!r}")
    if not isinstance(at_once, str):
        require_count("queries_at_once", at_once)


def batched(tasks: Task, at_once: int | str, seed: Seed) -> Task:
    """Return tasks whose queries are in batches of equal size: leaves ``[T, B, N/B, ...]``.

    Args:
        tasks: leaves ``[T, N, ...]``.
        at_once: ``"all"`` for the tasks as they are, leaves ``[T, N, ...]``; ``"class"`` for a batch of each
            class; or the size of batches of queries that are chosen by chance.
        seed: of the chance.

    Raises:
        ValueError: if the queries cannot be put into equal batches, with the remedy.
    """
    require_at_once(at_once)
    if at_once == "all":
        return tasks
    if not isinstance(tasks.query, Batch):
        raise ValueError(f"queries_at_once={at_once!r} needs queries that are examples: leave it at 'all'")
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
    """Return the order that puts the queries of a class together, ``[T, N]``, and how many each class has."""
    if not tf.is_tensor(targets) or not targets.dtype.is_integer or targets.shape.rank != 2:
        raise ValueError(
            "queries_at_once='class' needs targets that are numbers of classes, integers [T, N]: choose "
            "'all' or a number"
        )
    order = tf.argsort(targets, stable=True)
    sizes = {int(size) for row in targets for size in tf.unique_with_counts(row).count}
    if len(sizes) > 1:
        raise ValueError(
            f"queries_at_once='class' needs as many queries of each class, these are {sorted(sizes)}: choose "
            "'all' or a number"
        )
    return order, sizes.pop()
