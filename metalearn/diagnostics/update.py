"""What an outer update changed, and what has been learned of the inner rule."""

from __future__ import annotations

import tensorflow as tf

from metalearn.diagnostics.angles import Metrics, flat, largest, lengths
from metalearn.diagnostics.probes import takes_exponential
from metalearn.nest import names
from metalearn.problems.few_shot import MetaLearner
from metalearn.rules.hyperparameters import SHAPE_PER
from metalearn.types import Meta, Parameters, Structure


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


def learned_values(learner: MetaLearner, meta: Meta) -> dict[str, tf.Tensor]:
    """Return the learned hyperparameters of the inner rule as the rule uses them.

    After the exponential, where ``positive=True`` has the logarithm learned
    (:func:`metalearn.diagnostics.probes.takes_exponential`). Names are those of ``meta["rule"]``, with ``/k``
    for the values of inner step k. Values have a step each if their shapes fit no reading without one: see
    :func:`_has_steps`.

    Args:
        learner: whose rule it is.
        meta: as from ``learner.initialize``.

    Returns:
        Tensors of any shape in the units of the hyperparameter; nothing if the rule learns nothing.
    """
    parameters = learner.problem.initialize(meta)
    learned: dict[str, tf.Tensor] = {}
    for name, group in meta["rule"].items():
        exponential = takes_exponential(learner.rule, name, parameters)
        stepped = _has_steps(group, parameters)
        for path, leaf in zip(names({name: group}), tf.nest.flatten(group), strict=True):
            values = tf.exp(leaf) if exponential else leaf
            parts = {f"/{k}": row for k, row in enumerate(tf.unstack(values))} if stepped else {"": values}
            learned |= {f"{path}{suffix}": part for suffix, part in parts.items()}
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


def _has_steps(group: Structure, parameters: Parameters) -> bool:
    """Return whether a learned hyperparameter has a leading axis of inner steps, from its shapes.

    One number for the whole rule has a step axis if it has an axis. Numbers per variable or element are
    read without steps if they can be: per-step values of one lone vector whose length is the number of
    steps look like values of its elements.
    """
    if tf.is_tensor(group):
        return group.shape.rank == 1
    if (
        not isinstance(group, dict)
        or set(group) != set(parameters)
        or not all(map(tf.is_tensor, group.values()))
    ):
        return False

    def fits(drop: int) -> bool:
        return any(
            all(leaf.shape[drop:] == shape_per(parameters[key]) for key, leaf in group.items())
            for shape_per in SHAPE_PER.values()
        )

    return not fits(0) and all(leaf.shape.rank for leaf in group.values()) and fits(1)
