"""What ``mapping="auto"`` is: the vectorised form of a program, or the sequential one where there is none.

Whether a program has a vectorised form shows when it is built, with all its derivatives. So it is built, and
built otherwise if that fails: nothing is guessed from a model's layers.
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
"""What ``"auto"`` stands for in the program that is being built; None outside of any."""


LACKING = re.compile(r"vectorization defined for (\w+)|of op '(\w+)'")
"""The operation without a vectorised form, as two parts of TensorFlow put it."""


class NotVectorizableError(ValueError):
    """A function has no vectorised form.

    Args:
        cause: what TensorFlow raised.

    Attributes:
        under_xla: whether only the form that XLA asks for is missing, as with slices and concatenations.
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
"""What every mapping stands for, whatever it is; None for itself."""


def resolved(mapping: TaskMapping) -> TaskMapping:
    """Return what a mapping stands for: ``"auto"`` itself only where nothing has been chosen yet."""
    chosen = _auto.get() or mapping if mapping == "auto" else mapping
    return _always.get() or chosen


@contextmanager
def auto_is(mapping: TaskMapping) -> Iterator[None]:
    """Let ``"auto"`` stand for a mapping in everything that is built within."""
    token = _auto.set(mapping)
    try:
        yield
    finally:
        _auto.reset(token)


@contextmanager
def always_sequential() -> Iterator[None]:
    """Map one task after the other within, whatever is asked for: what other ways are compared with."""
    token = _always.set("sequential")
    try:
        yield
    finally:
        _always.reset(token)


def chosen(build: Callable[[], Returned]) -> Returned:
    """Return ``build()`` vectorised, or, where that has no vectorised form, sequential, and log which.

    The whole of a program is built in one way: not the forward pass vectorised and its gradient otherwise.
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
    """Log a choice as a warning: it concerns speed, and no number. Once a process, for it is made often."""
    logging.getLogger("metalearn").warning("%s", message)


def said(error: Exception) -> str:
    """Return the line of an error of TensorFlow's that says what is the matter: the last one."""
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
