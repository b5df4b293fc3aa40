"""Functions of a learner that are traced once for shapes of their arguments, however often they are called.

A function that maps tasks makes new graphs when it is called eagerly, and TensorFlow keeps some of them for
ever: it registers the gradients of calls within graphs by name. So eager calls go to one program of the
learner, which is traced where shapes or settings are new.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import tensorflow as tf

from metalearn.types import Structure

PLACE = "_programs"
"""The entry of an object's ``__dict__`` that holds its programs, as a cached property would."""


class Programs(dict[Hashable, Any]):
    """Programs by function and settings. A deep copy, as of the object that they belong to, has none."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Programs, ()


def kept(owner: Any, key: Hashable, make: Callable[[], Any]) -> Any:
    """Return what ``make()`` returned first for this key, kept with an object as long as it lives.

    Args:
        owner: a frozen record; without a ``__dict__`` nothing is kept.
        key: tells programs apart.
        make: makes one.
    """
    programs = vars(owner).setdefault(PLACE, Programs()) if hasattr(owner, "__dict__") else Programs()
    if key not in programs:
        programs[key] = make()
    return programs[key]


def traced_once(owner: Any, function: Callable[..., Structure], *settings: Any) -> Callable[..., Structure]:
    """Return ``function(owner, *settings, ...)`` as a function of nested tensors alone, to be called eagerly.

    Within a graph it is the function itself.

    Args:
        owner: a frozen record, with which the programs are :func:`kept`.
        function: of the module level, so that it is the same in every call. It has to be pure.
        *settings: what is not a tensor; hashable.
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
        # Not the program itself, which warns of retracing as soon as there are five learners.
        return program.get_concrete_function(*given)(*given)

    return call
