"""The choice of ``mapping="auto"``: the vectorised form of a program, or the sequential one if there is none.

Whether a program with all its derivatives has a vectorised form is known only after building it. So the
vectorised form is tried first, instead of a guess from a model's layers.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import tensorflow as tf

from metalearn.types import TaskMapping

Returned = TypeVar("Returned")

_auto: ContextVar[TaskMapping | None] = ContextVar("auto", default=None)
"""The meaning of ``"auto"`` in the program that is being built; None outside of programs."""


LACKING = re.compile(r"vectorization defined for (\w+)|of op '(\w+)'")
"""The operation without a vectorised form in two kinds of error messages of TensorFlow."""


class NotVectorizableError(ValueError):
    """A function has no vectorised form.

    Args:
        cause: the exception of TensorFlow.

    Attributes:
        under_xla: whether only the form for XLA is missing, as with slices and concatenations.
    """

    def __init__(self, cause: Exception) -> None:
        found = LACKING.search(str(cause))
        operation = next(filter(None, found.groups())) if found else f"an operation ({said(cause)})"
        self.under_xla = operation.startswith("Xla")
        where, remedy = (
            (" under XLA", "compile without it (jit_compile=False)")
            if self.under_xla
            else ("", "map tasks one after the other (mapping='sequential', or 'auto')")
        )
        super().__init__(f"TensorFlow has no vectorised form of {operation}{where}: {remedy}")


_always: ContextVar[TaskMapping | None] = ContextVar("always", default=None)
"""The mapping that replaces all others; None for no replacement."""


def resolved(mapping: TaskMapping) -> TaskMapping:
    """Return the actual mapping; ``"auto"`` only if nothing has been chosen yet."""
    chosen = _auto.get() or mapping if mapping == "auto" else mapping
    return _always.get() or chosen


def is_for_xla() -> bool:
    """Return whether the graph that is being built will be compiled with XLA."""
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        context = graph._get_control_flow_context()  # tf.function(jit_compile=True) enters one of XLA
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, "outer_graph", None)
    return False


@contextmanager
def auto_is(mapping: TaskMapping) -> Iterator[None]:
    """Give ``"auto"`` the meaning of a mapping for everything that is built within the context."""
    token = _auto.set(mapping)
    try:
        yield
    finally:
        _auto.reset(token)


_differentiable: ContextVar[bool] = ContextVar("differentiable", default=False)
"""Whether callers may take derivatives through the maps of the program that is being built."""


def is_differentiable() -> bool:
    """Return whether maps need derivatives through them, not only within their functions."""
    return _differentiable.get()


@contextmanager
def differentiable_maps() -> Iterator[None]:
    """Build maps within the context such that callers can take derivatives through them."""
    token = _differentiable.set(True)
    try:
        yield
    finally:
        _differentiable.reset(token)


@contextmanager
def always_sequential() -> Iterator[None]:
    """Map one task after the other within the context for every setting, as a reference."""
    token = _always.set("sequential")
    try:
        yield
    finally:
        _always.reset(token)


def chosen(build: Callable[[], Returned]) -> Returned:
    """Return ``build()`` in vectorised form, or sequential if there is none, which is logged.

    A whole program has one mapping: its forward pass and its gradient cannot differ.
    """
    try:
        with auto_is("vectorized"):
            return build()
    except NotVectorizableError as error:
        log_once(str(error))
    with auto_is("sequential"):
        return build()


@functools.cache
def log_once(message: str) -> None:
    """Log a choice, which affects speed but no result, as a warning, once in each process."""
    logging.getLogger("metalearn").warning("%s", message)


def said(error: Exception) -> str:
    """Return the last line of an error of TensorFlow, which describes the problem."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Keep TensorFlow from logging the operation that it cannot convert."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
