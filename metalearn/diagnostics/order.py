"""How much of a meta-gradient is second order, and whether the estimator in use has that part."""

from __future__ import annotations

import tensorflow as tf

from metalearn.derivatives import names
from metalearn.diagnostics.angles import Metrics, cosine, flat, norm
from metalearn.types import Meta


def order(exact: Meta, first_order: Meta, estimated: Meta) -> Metrics:
    """Hold the exact meta-gradient g to its first-order part f and to an estimate e.

    ::

        order/norm                   |g|
        order/first_order_norm       |f|
        order/correction_norm        |g - f|, in total and .../<name> per meta-parameter
        order/cosine                 <g, f> / (|g| |f|), in total and .../<name> per meta-parameter
        order/estimator_cosine       <g, e> / (|g| |e|)
        order/estimator_error        |g - e| / |g|

    A cosine with a zero vector is 0. The error is infinite if g alone is zero, and 0 if e is too.

    Args:
        exact: structured as the meta-parameters, as are the others; leaves of any shape.
        first_order: as of :func:`metalearn.estimators.first_order`.
        estimated: as of the estimator in use.

    Returns:
        Scalars; norms in units of loss per unit of the parameters.

    Reference: Finn, Abbeel and Levine (2017), "Model-Agnostic Meta-Learning", section 5.2, for f.
    """
    g, f, e = flat(exact), flat(first_order), flat(estimated)
    missed = norm(g - e)
    metrics = {
        "order/norm": norm(g),
        "order/first_order_norm": norm(f),
        "order/correction_norm": norm(g - f),
        "order/cosine": cosine(g, f),
        "order/estimator_cosine": cosine(g, e),
        "order/estimator_error": tf.where(tf.equal(missed, 0), missed, missed / norm(g)),
    }
    pairs = zip(names(exact), tf.nest.flatten(exact), tf.nest.flatten(first_order), strict=True)
    for name, of_exact, of_first_order in pairs:
        part, first = flat(of_exact), flat(of_first_order)
        metrics[f"order/correction_norm/{name}"] = norm(part - first)
        metrics[f"order/cosine/{name}"] = cosine(part, first)
    return metrics
