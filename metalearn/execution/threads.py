"""Work in a thread, which pays where it is done outside of Python, as compilation is."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Returned = TypeVar("Returned")


def in_thread(function: Callable[..., Returned], *arguments: object) -> Future[Returned]:
    """Begin ``function(*arguments)`` in a thread, with the present context variables.

    Python waits for the thread when it exits.
    """
    thread = ThreadPoolExecutor(1)
    future = thread.submit(contextvars.copy_context().run, function, *arguments)
    thread.shutdown(wait=False)
    return future


@contextmanager
def meanwhile(function: Callable[..., Returned], *arguments: object) -> Iterator[Future[Returned]]:
    """Execute ``function(*arguments)`` in a thread; the context does not end before, not even by an error."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(contextvars.copy_context().run, function, *arguments)
