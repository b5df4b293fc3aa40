"""Signals are handled while Python runs, and end the process soon if native code runs."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.harness.app import interrupts

BUSY = """
import hashlib
from experiments.harness.app import interrupts
interrupts.GRACE_SECONDS = 0.5
with interrupts.interruptible(lambda: print("last words", flush=True)):
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_a_signal_is_collected_and_handlers_are_put_back(number):
    before = [signal.getsignal(each) for each in interrupts.SIGNALS]
    with interrupts.interruptible(lambda: None) as received:
        signal.raise_signal(number)
        assert received == [number]
    assert [signal.getsignal(each) for each in interrupts.SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_call_that_does_not_end_is_not_waited_for():
    """A call of half an hour that does not return to Python is ended soon after the grace time of 0.5 s."""
    root = str(Path(interrupts.__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], cwd=root, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "busy\n"
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=30)
        assert 0.4 < time.monotonic() - start < 10
        assert (process.returncode, printed) == (130, "last words\n")
