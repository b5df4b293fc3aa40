"""Diagnostics of the outer update, and the learned hyperparameters of the inner rule."""

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
    """Return the size of an update, relative to the meta-parameters and to the meta-gradient.

    ::

        update/ratio/<name> = |after - before| / |before|
        update/rate/<name>  = |after - before| / |gradient|

    for every leaf. For a leaf of zeros (an initial bias), the ratio is relative to the new value: it is 1 if
    the leaf changed. Both are 0 for an unchanged leaf; a rate is infinite if a leaf changed with a zero
    gradient (momentum).

    Args:
        before: the meta-parameters; leaves of any shape.
        after: those after the update, with the same structure.
        gradient: the meta-gradient of the update, with the same structure.

    Returns:
        Two scalars for every leaf, with the names of :func:`metalearn.nest.names`: the ratio without a unit,
        the rate in the unit of the outer learning rate.

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

    These are the results of :meth:`metalearn.rules.Learned.value` if the rule declares its settings
    (:meth:`metalearn.types.Rule.settings`), else the values in ``meta["rule"]``. Names are those of
    ``meta["rule"]``, followed by ``/k`` for inner step k if the value depends on the step.

    Args:
        learner: the learner with the rule.
        meta: meta-parameters, as returned by ``learner.initialize``.

    Returns:
        Tensors of any shape in the units of the hyperparameter; empty if the rule learns nothing.
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
    """Return the mean, minimum and maximum of each learned hyperparameter.

    ::

        learned/mean/<name>, learned/minimum/<name>, learned/maximum/<name>

    Args:
        learned: the result of :func:`learned_values`.
    """
    metrics: Metrics = {}
    for name, values in learned.items():
        metrics[f"learned/mean/{name}"] = tf.reduce_mean(values)
        metrics[f"learned/minimum/{name}"] = -largest(-values)
        metrics[f"learned/maximum/{name}"] = largest(values)
    return metrics
