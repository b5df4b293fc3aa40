"""The requirements for a projection of phi after each update."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from metalearn.nest import names
from metalearn.types import Meta, Structure


def require_projection(projection: Callable[[Meta], Meta] | None, phi: Meta) -> None:
    """Raise ValueError unless a projection keeps structure, shapes and types, and returns finite numbers."""
    if projection is None:
        return
    projected: Structure = tf.nest.map_structure(tf.convert_to_tensor, projection(phi))
    given = dict(zip(names(projected), tf.nest.flatten(projected), strict=True))
    expected = dict(zip(names(phi), tf.nest.flatten(phi), strict=True))
    for name in sorted(set(given) | set(expected)):
        new, old = given.get(name), expected.get(name)
        if new is None or old is None or new.shape != old.shape or new.dtype != old.dtype:
            raise ValueError(
                f"projection has to return phi with the same structure, shapes and types, but differs at "
                f"{name or 'the tensor itself'}: {_described(new)} instead of {_described(old)}"
            )
        if not np.isfinite(new.numpy()).all():
            raise ValueError(f"projection returns non-finite numbers at {name} for the initial phi")


def _described(leaf: tf.Tensor | None) -> str:
    return "nothing" if leaf is None else f"{leaf.dtype.name} {leaf.shape}"
