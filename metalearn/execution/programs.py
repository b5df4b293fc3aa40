"""Functions of a learner that are traced only once for each combination of argument shapes.

A function that maps over tasks creates new graphs in every eager call, some of which TensorFlow never frees,
because it registers the gradients of calls within graphs by name. Therefore eager calls use one program of
the learner, which is traced again only for new shapes or settings.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import tensorflow as tf

from metalearn.types import Structure

PLACE = "_programs"
"""The key of an object's ``__dict__`` for its programs, as for a cached property."""


class Programs(dict[Hashable, Any]):
    """Programs by function and settings. A deep copy of an object has no programs."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Programs, ()


def kept(owner: Any, key: Hashable, make: Callable[[], Any]) -> Any:
    """Return the first result of ``make()`` for this key, which is kept for the lifetime of an object.

    Args:
        owner: a frozen record; without a ``__dict__`` nothing is kept.
        key: identifies a program.
        make: creates a program.
    """
    programs = vars(owner).setdefault(PLACE, Programs()) if hasattr(owner, "__dict__") else Programs()
    if key not in programs:
        programs[key] = make()
    return programs[key]


def traced_once(owner: Any, function: Callable[..., Structure], *settings: Any) -> Callable[..., Structure]:
    """Return ``function(owner, *settings, ...)`` as a traced function of nested tensors for eager calls.

    Within a graph it is not traced separately.

    Args:
        owner: a frozen record, for which the programs are :func:`kept`.
        function: a pure function at module level, so that it is the same object in every call.
        *settings: hashable arguments that are not tensors.
    """
    if not tf.executing_eagerly() or tf.config.functions_run_eagerly():
        return lambda *arguments: function(owner, *settings, *arguments)
    program = kept(
        owner,
        (function, settings),
        lambda: tf.function(lambda *arguments: function(owner, *settings, *arguments), autograph=False),
    )

    def call(*arguments: Structure) -> Structure:
        given = tf.nest.map_structure(tf.convert_to_tensor, arguments)
        # Not the program itself, which would warn of retracing if there are five learners.
        return program.get_concrete_function(*given)(*given)

    return call
