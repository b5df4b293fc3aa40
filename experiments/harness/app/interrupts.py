"""SIGINT and SIGTERM: a request to stop after the current compiled call, within a few seconds."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import INTERRUPTED

GRACE_SECONDS = 4.0
"""Seconds within which the current call has to end. Only compilation takes longer, and its loss costs no
results."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


@contextmanager
def interruptible(last_words: Callable[[], None]) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of ending the process; a second signal ends it as usual.

    A signal for which there is another handler keeps it: Slurm sends SIGTERM to jobs that it requeues, and
    submitit, which requests this, ignores that signal.

    Python runs handlers between its own instructions, and therefore not while TensorFlow compiles. But the
    interpreter writes to a socket immediately: a thread reads it, and ends the process if the main thread has
    not left the context in time. The files of a run can be resumed at any time.

    Args:
        last_words: called by that thread before it ends the process.
    """
    received: list[int] = []
    left = threading.Event()
    reading, writing = socket.socketpair()
    writing.setblocking(False)

    def receive(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    def watch() -> None:
        if reading.recv(1) and not left.wait(GRACE_SECONDS):
            last_words()
            os._exit(INTERRUPTED)

    ours = [number for number in SIGNALS if signal.getsignal(number) in DEFAULTS]
    previous = {number: signal.signal(number, receive) for number in ours}
    waker = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield received
    finally:
        left.set()
        signal.set_wakeup_fd(waker)
        for number, handler in previous.items():
            signal.signal(number, handler)
        writing.close()
        watcher.join()
        reading.close()
