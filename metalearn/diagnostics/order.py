"""The second-order part of a meta-gradient, and the error of the estimator in use."""

from __future__ import annotations

import tensorflow as tf

from metalearn.diagnostics.angles import Metrics, cosine, flat, lengths, norm, numbers, unit
from metalearn.nest import names
from metalearn.types import Meta


def order(exact: Meta, first_order: Meta, estimated: Meta) -> Metrics:
    """Compare the exact meta-gradient g with its first-order part f and with an estimate e.

    ::

        order/norm                   |g|
        order/first_order_norm       |f|
        order/correction_norm        |g - f|, in total, and .../<name> for each meta-parameter
        order/cosine                 <g, f> / (|g| |f|), in total, and .../<name> for each meta-parameter
        order/estimator_cosine       <g, e> / (|g| |e|)
        order/estimator_error        |g - e| / |g|

    A cosine with a zero vector is 0. The error is infinite if only g is zero, and 0 if e is zero, too.

    Args:
        exact: the exact meta-gradient, with the structure of the meta-parameters; leaves of any shape.
        first_order: the meta-gradient of :func:`metalearn.estimators.first_order`.
        estimated: the meta-gradient of the estimator in use.

    Returns:
        Scalars; norms have the unit of the loss divided by that of the parameters.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", section 5.2, for f.
    """
    g, f, e = flat(exact), flat(first_order), flat(estimated)
    long, directions = lengths(tf.stack([g, f, g - f]), exact)
    cosines = tf.math.unsorted_segment_sum(directions[0] * directions[1], numbers(exact), len(names(exact)))
    shares = unit(long)
    total, of_first_order, correction, missed = tf.unstack(tf.concat([norm(long), [norm(g - e)]], 0))
    metrics = {
        "order/norm": total,
        "order/first_order_norm": of_first_order,
        "order/correction_norm": correction,
        "order/cosine": tf.reduce_sum(shares[0] * shares[1] * cosines),
        "order/estimator_cosine": cosine(g, e),
        "order/estimator_error": tf.where(tf.equal(missed, 0), missed, missed / total),
    }
    corrections = long[2]
    for name, values in (("correction_norm", corrections), ("cosine", cosines)):
        for part, value in zip(names(exact), tf.unstack(values), strict=True):
            metrics[f"order/{name}/{part}"] = value
    return metrics
