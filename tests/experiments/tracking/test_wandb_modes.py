"""Weights & Biases online and offline: calls, files and errors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb

from experiments.harness.tracking import wandb as tracking
from experiments.harness.tracking.points import Points
from experiments.harness.tracking.trackers import Tracker
from experiments.harness.tracking.wandb import wandb_tracker
from tests.experiments.tracking.test_wandb import make_history
from tests.experiments.wandb_log import read


def start(directory: Path, **settings: Any) -> Tracker:
    described = {
        "directory": directory,
        "config": {"seed": 3},
        "run_id": "3f9c",
        "name": "maml",
        "group": None,
    }
    return wandb_tracker(**{**described, **settings})


class Page:
    """A mock of an online W&B run."""

    def __init__(self):
        self.alerts: list[dict[str, str]] = []

    def alert(self, **told: str) -> None:
        self.alerts.append(told)


@pytest.mark.parametrize(("mode", "count"), [("online", 1), ("offline", 0)])
def test_divergence_alerts_who_is_online(tmp_path: Path, mode: str, count: int) -> None:
    page = Page()
    tracker = tracking._WandbTracker(page, tmp_path, mode, Points(100, 1000))
    tracker.divergence("iteration 12: not finite: outer/loss")
    assert len(page.alerts) == count
    for told in page.alerts:
        assert told["text"] == "iteration 12: not finite: outer/loss"
        assert told["level"] == "ERROR"


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from experiments.harness.tracking.wandb import wandb_tracker
tracker = wandb_tracker(directory=Path(sys.argv[1]), config={}, run_id="a", name="a", group=None)
tracker.log(0, {"outer/loss": np.ones(150)}, None, 1.0)
checkpoint = Path(sys.argv[1]) / "checkpoint"
checkpoint.write_bytes(b"weights")
tracker.checkpoint(checkpoint)
tracker.finish()
"""


def test_offline_prints_nothing_calls_nobody_and_leaves_nothing_elsewhere(tmp_path: Path) -> None:
    home, work, temporary = (tmp_path / name for name in ("home", "work", "temporary"))
    for folder in (home, work, temporary):
        folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "XDG"))}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), "MPLCONFIGDIR": str(tmp_path)}
    environment |= {"PYTHONPATH": str(Path(tracking.__file__).parents[3]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        address = "http://{}:{}".format(*proxy.getsockname())
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "run")],
            cwd=work,
            env=environment | {"HTTP_PROXY": address, "HTTPS_PROXY": address},
            capture_output=True,
            text=True,
            check=True,
        )
        with pytest.raises(BlockingIOError):
            proxy.accept()
    ours = [line for line in done.stderr.splitlines() if "wandb" in line.lower()]
    assert (done.stdout, ours) == ("", [])
    left = [path for folder in (home, work, temporary) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in left if ".keras" not in path.parts] == []
    assert [row["iteration"] for row in read(tmp_path / "run").history] == [100, 150]


def test_online_without_login_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"online.*wandb login.*tracking\.mode=offline"):
        start(tmp_path, mode="online")


def test_online_an_interrupted_run_goes_on_under_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Online, a resumed run continues under its id; offline, each part is a separate run."""
    asked: list[dict[str, Any]] = []

    class Opened:
        url = "https://example.org"

        def define_metric(self, *_: Any, **__: Any) -> None:
            pass

    monkeypatch.setattr(wandb, "init", lambda **arguments: asked.append(arguments) or Opened())
    for mode in ("online", "offline"):
        tracker = start(tmp_path, mode=mode)
        tracker.log(0, make_history(3), None, 1.0)
        tracker.flush()
    found = [(arguments["mode"], arguments["id"], arguments["resume"]) for arguments in asked]
    assert found == [("online", "3f9c", "allow"), ("offline", "3f9c", None)]


def test_unknown_mode_and_wrong_intervals_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode='ofline' is not one of offline, online, disabled"):
        start(tmp_path, mode="ofline")
    for name in ("interval", "histogram_interval"):
        for value in (0, 1.5, True):
            with pytest.raises(ValueError, match=rf"^{name} must be an integer of at least 1"):
                start(tmp_path, **{name: value})
    assert not list(tmp_path.iterdir())
