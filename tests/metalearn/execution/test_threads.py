"""Work in a thread: with the caller's context variables, and never left behind by an error."""

import threading
from contextvars import ContextVar

import pytest

from metalearn.execution.threads import in_thread, meanwhile

here = ContextVar("here", default=False)


def test_the_context_variables_are_those_of_the_caller():
    token = here.set(True)
    try:
        assert in_thread(here.get).result()
        with meanwhile(here.get) as future:
            assert future.result()
    finally:
        here.reset(token)


def test_an_error_does_not_leave_the_work_behind():
    """As with an interruption: a call of workers that share a program has ended before the next begins."""
    ready, ended = threading.Event(), []

    def work():
        ready.wait(1)
        ended.append(True)

    def interrupted():
        with meanwhile(work):
            threading.Timer(0.1, ready.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ended
