"""Runs that are killed, stopped, or lose their disk: the same command ends them with equal bits."""

import csv
import errno
import itertools
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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments import train
from experiments.harness import checkpoints, files, lock, metrics, results, rundir, session
from experiments.harness.cli import UsageError, run_application
from experiments.harness.rundir import RunDirectory

SETTINGS = ["model.hidden=[8]", "training.meta_batch_size=4", "evaluation.tasks=20", "evaluation.steps=1"]
SETTINGS += ["tracking=none", "run.checkpoint_seconds=0.01"]

LONG = [*SETTINGS, "training.iterations=12000"]

SHORT = [*SETTINGS, "training.iterations=60", "training.jit_compile=false"]


def run(runs, arguments):
    """Run the command in this process, without figures; return its exit code."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(results, "draw", lambda *_: {})
        monkeypatch.setattr(sys, "argv", ["train", *arguments, f"paths.runs={runs}"])
        with pytest.raises(SystemExit) as stopped:
            run_application(train.main, "train")
    return stopped.value.code


def folder(runs):
    (path,) = (runs / "sinusoid").iterdir()
    return RunDirectory(path)


def content(run):
    """Return what may not depend on how often a run was stopped."""
    manifest = json.loads(run.manifest.read_text())
    assert manifest["status"] == "complete"
    return manifest["parameters_digest"], run.metrics.read_bytes(), run.evaluation.read_bytes()


@contextmanager
def process(runs):
    command = [sys.executable, "-m", "experiments.train", *LONG, f"paths.runs={runs}"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": "."}, stdout=subprocess.PIPE) as started:
        yield started
        started.kill()


def wait_for_rows(started, runs, rows):
    """Wait until a running process has written so many rows, or ended."""
    deadline = time.monotonic() + 120
    while started.poll() is None:
        found = list(runs.glob("*/*/metrics.csv"))
        if found and found[0].read_bytes().count(b"\n") > rows:
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A long run that nothing happened to."""
    runs = tmp_path_factory.mktemp("whole")
    assert run(runs, LONG) == 0
    return content(folder(runs))


def test_killed_and_stopped_it_ends_with_equal_bits(tmp_path, whole):
    """By SIGKILL, with checkpoints written all the time, and by SIGTERM, within five seconds."""
    with process(tmp_path) as started:
        wait_for_rows(started, tmp_path, 200)
        started.kill()
    with process(tmp_path) as started:
        wait_for_rows(started, tmp_path, 1000)
        asked = time.monotonic()
        started.send_signal(signal.SIGTERM)
        printed, _ = started.communicate(timeout=60)
        assert time.monotonic() - asked < 5
    assert started.returncode == 130
    assert b"resuming" in printed
    assert b"go on with: python -m experiments.train" in printed
    manifest = json.loads(folder(tmp_path).manifest.read_text())
    assert manifest["status"] == "interrupted"
    assert 0 < manifest["iteration"] < 12000
    assert run(tmp_path, LONG) == 0
    assert content(folder(tmp_path)) == whole


@pytest.mark.slow
def test_killed_at_twenty_moments_it_ends_with_equal_bits(tmp_path, whole):
    moments = random.Random(0)
    for _ in range(20):
        with process(tmp_path) as started:
            wait_for_rows(started, tmp_path, 0)
            time.sleep(moments.uniform(0, 1))
            started.kill()
    assert run(tmp_path, LONG) == 0
    assert content(folder(tmp_path)) == whole


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_does_not_matter(tmp_path, whole, monkeypatch, threads):
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, str(threads))
    with process(tmp_path) as started:
        started.communicate(timeout=120)
        assert started.returncode == 0
    assert content(folder(tmp_path)) == whole


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A short run that nothing happened to, and one that stopped at iteration 40, with two checkpoints."""
    runs, stopped = tmp_path_factory.mktemp("short"), tmp_path_factory.mktemp("stopped")
    assert run(runs, SHORT) == 0
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(session, "Bar", stop_at(40, KeyboardInterrupt))
        assert run(stopped, SHORT) == 130
    return folder(runs), folder(stopped)


def stop_at(iteration, error):
    """Return a progress bar at which something happens."""

    class Stop(session.Bar):
        def advance(self, now, history):
            if now >= iteration:
                raise error
            super().advance(now, history)

    return Stop


def test_diagnoses_change_nothing_and_are_made_once(short, tmp_path):
    """Of a run that stops at a checkpoint which a diagnosis is due at, and of one it stops behind."""
    diagnosed = [*SHORT, "diagnostics.interval=20"]
    for iteration in (20, 40):
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(session, "Bar", stop_at(iteration, KeyboardInterrupt))
            assert run(tmp_path, diagnosed) == 130
    assert run(tmp_path, diagnosed) == 0
    assert content(folder(tmp_path)) == content(short[0])
    with folder(tmp_path).diagnostics.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["0", "20", "40"]
    assert all(abs(float(row["order/estimator_cosine"]) - 1) < 1e-6 for row in rows)


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path, short, capsys):
    """No file may grow beyond what the metrics have, and half a row. Given space, the bits are equal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Fill(session.Bar):
        def advance(self, now, history):
            size = folder(tmp_path).metrics.stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(session, "Bar", Fill)
        try:
            assert run(tmp_path, SHORT) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    captured = capsys.readouterr()
    assert "File too large" in captured.out
    assert "go on with" in captured.out
    assert "Traceback" not in captured.err
    assert run(tmp_path, SHORT) == 0
    assert "resuming" in capsys.readouterr().out
    assert content(folder(tmp_path)) == content(short[0])


def test_a_folder_that_vanishes_is_said(tmp_path, monkeypatch, capfd):
    class Vanish(session.Bar):
        def advance(self, now, history):
            shutil.rmtree(tmp_path / "sinusoid")

    monkeypatch.setattr(session, "Bar", Vanish)
    assert run(tmp_path, SHORT) == 1
    captured = capfd.readouterr()
    assert "No such file or directory" in captured.out
    assert "Traceback" not in captured.err


def test_a_folder_that_can_no_longer_be_written_to_is_said(short, tmp_path, monkeypatch, capfd):
    """A stand-in for a file system that is mounted anew: permissions do not bind every user."""
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
    with lock.held(folder(tmp_path).path):
        assert run(tmp_path, SHORT) == 2
    assert f"in the hands of another process (process {os.getpid()} on " in capfd.readouterr().err
    assert read(folder(tmp_path)) == before


FILES = ("config", "manifest", "metrics", "evaluation", "losses", "older", "newest")

MUTATIONS = {
    "flipped": lambda old, at, bit: old[:at] + bytes([old[at] ^ (1 << bit)]) + old[at + 1 :],
    "cut": lambda old, at, bit: old[:at],
    "emptied": lambda old, at, bit: b"",
    "doubled": lambda old, at, bit: old + old,
    "a huge number": lambda old, at, bit: old[:at] + b"9" * 400 + old[at:],
    "of another type": lambda old, at, bit: b'{"format": 2, "iteration": "many"}',
    "not text": lambda old, at, bit: os.urandom(100),
}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.sampled_from(sorted(MUTATIONS)), st.floats(0, 0.999), st.integers(0, 7))
def test_what_was_changed_is_noticed_or_recovered_from(
    short, readable, tmp_path_factory, name, mutation, place, bit
):
    """Of a complete and of a stopped run: never another value, never an error that is not for the user."""
    for original in short:
        copy = RunDirectory(tmp_path_factory.mktemp("copy") / original.path.name)
        shutil.copytree(original.path, copy.path)
        path = file(copy, name)
        if not path.exists():
            continue
        old = path.read_bytes()
        path.write_bytes(MUTATIONS[mutation](old, int(place * len(old)), bit))
        try:
            found = read(copy)
        except UsageError as error:
            found = str(error)
        assert found in readable[original] or str(copy.path) in found
        shutil.rmtree(copy.path)


def file(run, name):
    if name in ("older", "newest"):
        return sorted(run.checkpoints.iterdir())[-1 if name == "newest" else 0]
    return getattr(run, name)


def read(run):
    """Return all that a run that goes on, or is shown, reads of its folder."""
    config, manifest = rundir.read(run)
    if manifest["status"] == "complete":
        for path in (run.metrics, run.evaluation, run.losses):
            rundir.require_unchanged(run, manifest, path)
    taken = []

    def accept(state):
        metrics.go_back(run.metrics, state)
        taken.append(sorted((name, np.asarray(value).tobytes()) for name, value in state.items()))

    checkpoints.recover(run.checkpoints, manifest["identity"], accept)
    return repr(config), repr(manifest), taken, run.metrics.read_bytes()


@pytest.fixture(scope="module")
def readable(short, tmp_path_factory):
    """What may be read of each run: with the newest checkpoint, and with the one before."""
    found = {original: [] for original in short}
    for original, kept in itertools.product(short, (2, 1)):
        copy = RunDirectory(tmp_path_factory.mktemp("copy") / "run")
        shutil.copytree(original.path, copy.path)
        for path in sorted(copy.checkpoints.iterdir())[kept:]:
            path.unlink()
        found[original].append(read(copy))
    return found


def test_a_damaged_newest_checkpoint_costs_time_only(short, tmp_path, capfd):
    whole, stopped = short
    run_again = tmp_path / "sinusoid" / stopped.path.name
    shutil.copytree(stopped.path, run_again)
    file(RunDirectory(run_again), "newest").write_bytes(b"damage")
    assert run(tmp_path, SHORT) == 0
    assert "not used: " in capfd.readouterr().out
    assert content(RunDirectory(run_again)) == content(whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("mutation", sorted(MUTATIONS))
def test_the_command_recovers_or_refuses(short, tmp_path, name, mutation):
    whole, stopped = short
    copy = RunDirectory(tmp_path / "sinusoid" / stopped.path.name)
    shutil.copytree(stopped.path, copy.path)
    path = file(copy, name)
    if path.exists():
        old = path.read_bytes()
        path.write_bytes(MUTATIONS[mutation](old, len(old) // 2, 3))
    if run(tmp_path, SHORT) == 0:
        assert content(copy) == content(whole)
