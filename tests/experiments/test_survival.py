"""Runs that are killed, stopped, or lose their disk: the same command completes them with equal bits."""

import csv
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf

from experiments.harness.app import interrupts
from experiments.harness.runs import checkpoints, files, lock
from experiments.harness.session import training as session
from metalearn import diagnostics
from tests.experiments import events
from tests.experiments.small_runs import SETTINGS, SHORT, bar_that, content, folder, read, run, stop_at
from tests.often import mostly_slow

LONG = [*SETTINGS, "training.iterations=1000", "training.jit_compile=false", "training.carry=350"]
"""With inner loops that are carried on: what is killed is in the middle of one."""


@contextmanager
def process(runs, arguments=LONG):
    """Start the command, and wait until it reports that it has trained."""
    command = [sys.executable, "-m", "experiments.train", *arguments, f"paths.runs={runs}"]
    environment = {**os.environ, "PYTHONPATH": ".", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as started:
        for line in started.stdout:
            if line.startswith(b"iteration "):
                break
        yield started
        started.kill()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A long uninterrupted run."""
    runs = tmp_path_factory.mktemp("whole")
    assert run(runs, LONG, as_traced=False) == 0
    return content(folder(runs))


def test_killed_and_stopped_it_ends_with_equal_bits(tmp_path, whole):
    """A run that is killed by SIGKILL and then stopped by SIGTERM has the bits of an uninterrupted one."""
    with process(tmp_path) as started:
        time.sleep(0.2)
        started.kill()
    with process(tmp_path) as started:
        asked = time.monotonic()
        started.send_signal(signal.SIGTERM)
        printed, _ = started.communicate(timeout=60)
        assert time.monotonic() - asked < interrupts.GRACE_SECONDS + 10  # to leave, on a busy machine
    assert started.returncode == 130
    assert b"resume with: python -m experiments.train" in printed
    manifest = json.loads(folder(tmp_path).manifest.read_text())
    assert manifest["status"] == "interrupted"
    assert manifest["environment"]["TF_NUM_INTRAOP_THREADS"] == "1"
    assert len(manifest["resumed"]) == 1
    assert 0 < manifest["iteration"] < 1000
    assert run(tmp_path, LONG, as_traced=False) == 0
    assert content(folder(tmp_path)) == whole


@pytest.mark.slow
def test_killed_at_twenty_moments_it_ends_with_equal_bits(tmp_path):
    """A run that is killed twenty times by SIGKILL has the bits of an uninterrupted one.

    Each process trains for up to half a second. The run takes some forty seconds and writes checkpoints
    continuously.
    """
    longer = [*SETTINGS, "training.iterations=300000"]
    assert run(tmp_path / "whole", longer) == 0
    moments, runs = random.Random(0), tmp_path / "killed"
    for _ in range(20):
        with process(runs, longer) as started:
            time.sleep(moments.uniform(0, 0.5))
            started.kill()
            assert started.wait() == -signal.SIGKILL
    manifest = json.loads(folder(runs).manifest.read_text())
    assert manifest["status"] == "running"
    assert len(manifest["resumed"]) == 19
    assert run(runs, longer) == 0
    assert content(folder(runs)) == content(folder(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_does_not_matter(tmp_path, monkeypatch, threads):
    assert run(tmp_path / "whole", LONG, quick=False) == 0
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, str(threads))
    with process(tmp_path / "other") as started:
        started.communicate(timeout=120)
        assert started.returncode == 0
    assert content(folder(tmp_path / "other")) == content(folder(tmp_path / "whole"))


def test_diagnoses_change_nothing_and_are_made_once(short, tmp_path):
    """Diagnostics do not change bits, and have one row each, also if a run stops when they are due.

    This also holds for TensorBoard. The diagnostics are replaced by a sum of weights, because the actual ones
    take long to build.
    """
    diagnosed = [each for each in SHORT if each != "tracking=none"]
    diagnosed += ["diagnostics.interval=20", "tracking=tensorboard", "tracking.interval=1"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(diagnostics, "diagnose", lambda learner, meta, *_, cache: {"sum": total(meta)})
        with pytest.MonkeyPatch.context() as stopping:
            stopping.setattr(session, "bar", stop_at(40, KeyboardInterrupt))
            assert run(tmp_path, diagnosed) == 130
        assert run(tmp_path, diagnosed) == 0
    assert content(folder(tmp_path)) == content(short[0])
    with folder(tmp_path).diagnostics.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["0", "20", "40", "60"]
    assert len({row["sum"] for row in rows}) == 4
    found = events.read(folder(tmp_path).path / "tensorboard")
    assert events.steps(found, "outer/loss") == list(range(1, 61))
    assert events.steps(found, "sum") == [0, 20, 40, 60]


def total(meta):
    return tf.add_n([tf.reduce_sum(leaf) for leaf in tf.nest.flatten(meta)])


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path, short, capsys):
    """A full disk stops the run with a message; after resuming, the bits are equal.

    No file may exceed the size of the metrics plus half a row.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(now):
        size = folder(tmp_path).metrics.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(session, "bar", bar_that(fill))
        try:
            assert run(tmp_path, SHORT) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    captured = capsys.readouterr()
    assert "File too large" in captured.out
    assert "resume with" in captured.out
    assert "Traceback" not in captured.err
    assert run(tmp_path, SHORT) == 0
    assert "resuming" in capsys.readouterr().out
    assert content(folder(tmp_path)) == content(short[0])


def test_a_fault_is_kept_with_its_traceback(short, tmp_path, monkeypatch):
    """The traceback of an error remains in the run's folder until the run is resumed."""
    _, stopped = short
    shutil.copytree(stopped.path, tmp_path / "sinusoid" / stopped.path.name)
    with monkeypatch.context() as broken:
        broken.setattr(session, "conclude", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path, SHORT)
    manifest = json.loads(folder(tmp_path).manifest.read_text())
    assert (manifest["status"], manifest["error"]) == ("failed", "ZeroDivisionError: division by zero")
    assert "in <lambda>" in folder(tmp_path).error.read_text()
    assert run(tmp_path, SHORT) == 0
    assert not folder(tmp_path).error.exists()
    assert content(folder(tmp_path)) == content(short[0])


def test_a_folder_that_vanishes_is_said(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(session, "bar", bar_that(lambda now: shutil.rmtree(tmp_path / "sinusoid")))
    assert run(tmp_path, SHORT) == 1
    captured = capfd.readouterr()
    assert ".lock: it was removed or replaced" in captured.out
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("replaced", mostly_slow([False, True], True))
def test_a_lock_that_is_taken_away_stops_its_owner_before_it_writes(short, tmp_path, capfd, replaced):
    """If the lock is removed or replaced, the run stops before it writes, and can be resumed."""

    def remove(now):
        if now >= 40:
            (folder(tmp_path).path / ".lock").unlink()
            if replaced:
                (folder(tmp_path).path / ".lock").write_text("process 1 on another")
            written.append(folder(tmp_path).manifest.read_bytes())

    written = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(session, "bar", bar_that(remove))
        assert run(tmp_path, SHORT) == 1
    captured = capfd.readouterr()
    assert ".lock: it was removed or replaced" in captured.out
    assert "resume with" in captured.out
    assert "Traceback" not in captured.err
    assert written == [folder(tmp_path).manifest.read_bytes()]
    assert run(tmp_path, SHORT) == 0
    assert content(folder(tmp_path)) == content(short[0])


def test_what_killed_processes_left_half_written_is_removed(short, tmp_path):
    _, stopped = short
    shutil.copytree(stopped.path, tmp_path / "sinusoid" / stopped.path.name)
    left = [
        folder(tmp_path).path / name for name in (".manifest.json.1.tmp", "checkpoints/.0000000050.npz.1.tmp")
    ]
    for path in left:
        path.write_bytes(b"half")
    assert run(tmp_path, SHORT) == 0
    assert not any(path.exists() for path in left)
    assert content(folder(tmp_path)) == content(short[0])


def test_the_manifest_has_the_iteration_of_the_newest_checkpoint(short):
    _, stopped = short
    manifest = json.loads(stopped.manifest.read_text())
    assert manifest["iteration"] == int(checkpoints.listed(stopped.checkpoints)[-1].stem)


def test_an_update_that_overflows_is_not_made(tmp_path, capfd):
    """If an update is not finite, its parameters are named, and the previous ones are stored."""
    overflowing = "optimizer={_target_: keras.optimizers.SGD, learning_rate: 3e38}"
    assert run(tmp_path, [*SHORT, overflowing, "task.amplitude=[50,50]"]) == 1
    captured = capfd.readouterr()
    assert "stopped: iteration 0: not finite: parameters/" in captured.out
    assert "Traceback" not in captured.err
    (path,) = folder(tmp_path).checkpoints.iterdir()
    state = checkpoints.load(path, json.loads(folder(tmp_path).manifest.read_text())["identity"])
    assert state["iteration"] == 0
    assert all(np.isfinite(value).all() for value in state.values() if value.dtype.kind == "f")


def test_a_folder_that_can_no_longer_be_written_to_is_said(short, tmp_path, monkeypatch, capfd):
    """A folder that has become read-only is reported, and its files are unchanged.

    The file system is a mock, because permissions do not restrict every user.
    """
    _, stopped = short
    shutil.copytree(stopped.path, tmp_path / "sinusoid" / stopped.path.name)
    before = read(folder(tmp_path))

    def refuse(path, write):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    for module in (checkpoints, files):
        monkeypatch.setattr(module, "write_atomically", refuse)
    assert run(tmp_path, SHORT) == 1
    captured = capfd.readouterr()
    assert "Read-only file system" in captured.out
    assert "Traceback" not in captured.err
    assert read(folder(tmp_path)) == before


def test_two_commands_do_not_train_one_run(short, tmp_path, capfd):
    _, stopped = short
    shutil.copytree(stopped.path, tmp_path / "sinusoid" / stopped.path.name)
    before = read(folder(tmp_path))
    with lock.locked(folder(tmp_path).path):
        assert run(tmp_path, SHORT) == 2
    assert f"is in use by another process (process {os.getpid()} on " in capfd.readouterr().err
    assert read(folder(tmp_path)) == before
