"""Masks of a given sparsity out of scores, and parameters under a mask."""

from __future__ import annotations

import tensorflow as tf

from metalearn.autodiff import names
from metalearn.checks import require_finite
from metalearn.nest import ravel
from metalearn.types import Parameters


def prunable(parameters: Parameters) -> Parameters:
    """Return the parameters that pruning may remove entries of: kernels, of at least two axes.

    Raises:
        ValueError: if there are none.
    """
    kernels = {key: value for key, value in parameters.items() if value.shape.rank >= 2}
    if not kernels:
        raise ValueError(f"none of the parameters {', '.join(parameters)} has two axes: nothing to prune")
    return kernels


def masks(scores: Parameters, sparsity: float) -> Parameters:
    """Return masks of ones for the entries of the highest scores over all layers, zeros for the others.

    Args:
        scores: by parameter, S entries in all; higher is kept.
        sparsity: share of the entries that go, at least 0 and below 1. ``round((1 - sparsity) S)`` are
            kept, at least one; of equal scores the first.

    Returns:
        Masks structured as ``scores``, zeros and ones of their type.

    Raises:
        ValueError: if the sparsity is out of range or a score is known to be no number.
    """
    require_sparsity(sparsity)
    flat, unravel = ravel(scores)
    for name, leaf in zip(names(scores), tf.nest.flatten(scores), strict=True):
        values = tf.get_static_value(leaf)
        if values is not None and (values != values).any():
            raise ValueError(f"the scores of {name} are not numbers: does training diverge?")
    count = flat.shape[0]
    kept = max(round((1 - sparsity) * count), 1)
    order = tf.argsort(flat, direction="DESCENDING", stable=True)[:kept]
    return unravel(tf.scatter_nd(order[:, None], tf.ones([kept], flat.dtype), [count]))


def masked(parameters: Parameters, masks: Parameters) -> Parameters:
    """Return parameters, those with a mask times it.

    Raises:
        ValueError: if there is a mask for no parameter.
    """
    if unknown := sorted(set(masks) - set(parameters)):
        raise ValueError(f"there are masks for {', '.join(unknown)}, and no such parameters")
    return {key: value * masks[key] if key in masks else value for key, value in parameters.items()}


def require_sparsity(sparsity: float) -> None:
    """Raise ValueError unless a sparsity is at least 0 and below 1."""
    require_finite("sparsity", sparsity)
    if not 0 <= sparsity < 1:
        raise ValueError(
            f"sparsity must be at least 0 and below 1, got {sparsity}: it is the share of entries that go, "
            "and with 1 nothing is left"
        )
