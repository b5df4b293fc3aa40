"""Disabled and failing trackers: the run continues and reports it once."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from matplotlib.figure import Figure

from experiments.harness.tracking import trackers as tracking
from experiments.harness.tracking.trackers import NoTracker, Tracker
from metalearn import Evaluation
from tests.experiments.tracking.test_wandb import GRADIENT, make_history, start
from tests.experiments.wandb_log import read


def service_of_this_process() -> int:
    """Return the process that W&B has started for this one."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            found = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            if found["Name"].startswith("wandb-core") and int(found["PPid"]) == os.getpid():
                return int(status.parent.name)
    raise AssertionError("W&B has no process")


def test_the_process_of_wandb_may_be_killed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """If W&B's process is killed, this is reported once, and the next tracker has its own process."""
    wandb.teardown()
    tracker = start(tmp_path / "first", interval=10)
    tracker.log(0, make_history(20), None, 1.0)
    tracker.flush()
    killed = service_of_this_process()
    os.kill(killed, signal.SIGKILL)
    for number in range(1, 100):  # until its death is noticed, and after
        tracker.log(20 * number, make_history(20), None, 1.0)
        time.sleep(0.01)
    image = tmp_path / "image.png"
    Figure((1, 1)).savefig(image, dpi=50)
    tracker.figures({"adaptation": image})
    tracker.finish()
    assert capfd.readouterr().out.count("tracking stopped: ") == 1
    other = start(tmp_path / "second", interval=10)
    other.log(0, make_history(20), None, 1.0)
    other.finish()
    assert [row["iteration"] for row in read(tmp_path / "second").history] == [10, 20]
    for started in gc.get_objects():  # W&B does not wait for it: Python would warn of it in another test
        if isinstance(started, subprocess.Popen) and started.pid == killed:
            started.wait()


def test_a_tracker_whose_disk_is_full_is_done_without(capfd: pytest.CaptureFixture[str]) -> None:
    class Full:
        def log(self, *_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    tracker = tracking.Dispensable(Full)
    for first in (0, 3):
        tracker.log(first, make_history(3), None, 1.0)
    tracker.finish()
    printed = capfd.readouterr().out
    assert (
        printed.count("tracking stopped: OSError: [Errno 28] No space left on device. The run continues") == 1
    )


def test_a_run_does_not_wait_for_its_tracker() -> None:
    """Calls are made in order once the tracker is open; only flush and finish wait for that."""
    made, ready = list[Any](), threading.Event()

    class Slow:
        def log(self, first: int, *_: Any) -> None:
            made.append(first)

        def flush(self) -> None:
            made.append("flush")

        def finish(self, exit_code: int = 0) -> None:
            made.append(exit_code)

    def start() -> Any:
        ready.wait()
        return Slow()

    unused, tracker = tracking.Dispensable(lambda: pytest.fail("opened")), tracking.Dispensable(start)
    unused.flush()
    unused.finish()
    for first in (0, 3):
        tracker.log(first, make_history(3), None, 1.0)
    assert made == []
    threading.Timer(0.1, ready.set).start()
    tracker.flush()
    assert made == [0, 3, "flush"]
    tracker.log(6, make_history(3), None, 1.0)
    assert made == [0, 3, "flush", 6]
    tracker.finish(exit_code=1)
    assert made == [0, 3, "flush", 6, 1]


def test_a_tracker_that_does_not_start_is_done_without_offline(capfd: pytest.CaptureFixture[str]) -> None:
    """A tracker that does not start is reported, unless it is required: then it is an error."""

    def start() -> Tracker:
        raise RuntimeError("Could not determine home directory.")

    tracker = tracking.Dispensable(start)
    tracker.log(0, make_history(3), None, 1.0)
    assert "tracking stopped: RuntimeError: Could not determine home directory." in capfd.readouterr().out
    with pytest.raises(RuntimeError, match="home"):
        tracking.Dispensable(start, required=True)


@pytest.mark.parametrize("make", [NoTracker, lambda: start(Path("nowhere"), mode="disabled")])
def test_a_tracker_that_keeps_nothing(make: Any) -> None:
    tracker = make()
    tracker.log(0, make_history(3), GRADIENT, 1.0)
    tracker.evaluation(
        Evaluation(np.arange(1), np.ones(1), np.ones(1), 2, "", np.empty(0), np.ones(1), np.zeros(1)), "mse"
    )
    tracker.figures({"adaptation": Path("nowhere.png")})
    tracker.checkpoint(Path("nowhere.npz"))
    tracker.finish(exit_code=1)
    assert not Path("nowhere").exists()
