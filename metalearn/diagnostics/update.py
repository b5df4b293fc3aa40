"""What an outer update changed, and what has been learned of the inner rule."""

from __future__ import annotations

import keras
import tensorflow as tf

from metalearn.diagnostics.angles import Metrics, flat, largest, lengths
from metalearn.nest import names
from metalearn.problems.bilevel import values_in_phi
from metalearn.problems.learner import Learner
from metalearn.rules.description import settings_of
from metalearn.rules.learnable import Learned
from metalearn.types import Meta


def update_ratios(before: Meta, after: Meta, gradient: Meta) -> Metrics:
    """Return how large an update was, relative to what it changed, and to the gradient it was made from.

    ::

        update/ratio/<name> = |after - before| / |before|
        update/rate/<name>  = |after - before| / |gradient|

    of every leaf. A leaf that was all zero (a bias at the start) is held to what it became: its ratio is 1
    if it moved. 0 where nothing moved; a rate is infinite where something did without a gradient (momentum).

    Args:
        before: the meta-parameters; leaves of any shape.
        after: those after the update, structured alike.
        gradient: the meta-gradient that the outer optimizer made the update from, structured alike.

    Returns:
        Two scalars for every leaf, named as :func:`metalearn.nest.names` does: the ratio without
        unit, the rate in that of the outer learning rate.

    Raises:
        ValueError: if the structures differ.
    """
    tf.nest.assert_same_structure(before, after)
    tf.nest.assert_same_structure(before, gradient)
    old, new = flat(before), flat(after)
    vectors = tf.stack([new - old, old, new, tf.cast(flat(gradient), old.dtype)])
    moved, was, became, slopes = tf.unstack(lengths(vectors, before)[0])
    values = {
        "ratio": tf.math.divide_no_nan(moved, tf.where(tf.equal(was, 0), became, was)),
        "rate": tf.where(tf.equal(moved, 0), 0 * slopes, moved / slopes),
    }
    return {
        f"update/{kind}/{name}": value
        for kind, of_all in values.items()
        for name, value in zip(names(before), tf.unstack(of_all), strict=True)
    }


def learned_values(learner: Learner, meta: Meta) -> dict[str, tf.Tensor]:
    """Return the learned hyperparameters of the inner rule as the rule uses them.

    As :meth:`metalearn.rules.Learned.value` makes them of what is learned, if the rule declares its settings
    (:meth:`metalearn.types.Rule.settings`); as they are in ``meta["rule"]`` if not. Names are those of
    ``meta["rule"]``, with ``/k`` for inner step k where each step has a value of its own.

    Args:
        learner: whose rule it is.
        meta: as from ``learner.initialize``.

    Returns:
        Tensors of any shape in the units of the hyperparameter; nothing if the rule learns nothing.
    """
    settings = settings_of(learner.rule)
    learned: dict[str, tf.Tensor] = {}
    values = values_in_phi(meta)
    leaves = zip(names(values), keras.tree.flatten_with_path(values), strict=True)
    for name, (path, leaf) in leaves:
        setting = settings.get(path[0]) if path else None
        if not isinstance(setting, Learned):
            learned[name] = leaf
        elif setting.steps is None:
            learned[name] = setting.value(leaf)
        else:
            learned |= {f"{name}/{k}": row for k, row in enumerate(tf.unstack(setting.value(leaf)))}
    return learned


def learned_statistics(learned: dict[str, tf.Tensor]) -> Metrics:
    """Return mean, smallest and largest of each learned hyperparameter.

    ::

        learned/mean/<name>, learned/minimum/<name>, learned/maximum/<name>

    Args:
        learned: as from :func:`learned_values`.
    """
    metrics: Metrics = {}
    for name, values in learned.items():
        metrics[f"learned/mean/{name}"] = tf.reduce_mean(values)
        metrics[f"learned/minimum/{name}"] = -largest(-values)
        metrics[f"learned/maximum/{name}"] = largest(values)
    return metrics
