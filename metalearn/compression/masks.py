"""Masks of a given sparsity from scores, and masked parameters."""

from __future__ import annotations

import tensorflow as tf

from metalearn.autodiff import names
from metalearn.checks import require_finite
from metalearn.nest import ravel
from metalearn.types import Parameters


def prunable(parameters: Parameters) -> Parameters:
    """Return the parameters that can be pruned: kernels, which have at least two axes.

    Args:
        parameters: the parameters of a model, by key.

    Raises:
        ValueError: if there are none.
    """
    kernels = {key: value for key, value in parameters.items() if value.shape.rank >= 2}
    if not kernels:
        raise ValueError(
            f"none of the parameters {', '.join(parameters)} has two axes: nothing can be pruned"
        )
    return kernels


def masks(scores: Parameters, sparsity: float) -> Parameters:
    """Return masks of ones for the entries with the highest scores over all layers, zeros for the others.

    Args:
        scores: the scores of each parameter, S entries in total; the highest are kept.
        sparsity: the fraction of the entries to remove, at least 0 and below 1. ``round((1 - sparsity) S)``
            are kept, at least one; among equal scores the first.

    Returns:
        Masks with the structure and types of ``scores``, of zeros and ones.

    Raises:
        ValueError: if the sparsity is out of range or a score is known to be NaN.
    """
    require_sparsity(sparsity)
    flat, unravel = ravel(scores)
    for name, leaf in zip(names(scores), tf.nest.flatten(scores), strict=True):
        values = tf.get_static_value(leaf)
        if values is not None and (values != values).any():
            raise ValueError(f"the scores of {name} contain NaN: did training diverge?")
    count = flat.shape[0]
    kept = max(round((1 - sparsity) * count), 1)
    order = tf.argsort(flat, direction="DESCENDING", stable=True)[:kept]
    return unravel(tf.scatter_nd(order[:, None], tf.ones([kept], flat.dtype), [count]))


def masked(parameters: Parameters, masks: Parameters) -> Parameters:
    """Return the parameters, multiplied by their masks if they have one.

    Args:
        parameters: the parameters of a model, by key.
        masks: zeros and ones, or numbers between them, by the keys of the masked parameters.

    Raises:
        ValueError: if a mask belongs to no parameter.
    """
    if unknown := sorted(set(masks) - set(parameters)):
        raise ValueError(f"there are masks for {', '.join(unknown)}, but no such parameters")
    return {key: value * masks[key] if key in masks else value for key, value in parameters.items()}


def require_sparsity(sparsity: float) -> None:
    """Raise ValueError unless a sparsity is at least 0 and below 1."""
    require_finite("sparsity", sparsity)
    if not 0 <= sparsity < 1:
        raise ValueError(
            f"sparsity must be at least 0 and below 1, got {sparsity}: it is the fraction of entries to "
            "remove, and with 1 nothing is left"
        )
