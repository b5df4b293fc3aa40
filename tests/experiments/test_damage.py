"""Changed folders of runs: each change is detected, or the run recovers from it."""

import itertools
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.harness.errors import UsageError
from experiments.harness.runs.rundir import RunDirectory
from tests.experiments.small_runs import SHORT, content, read, run

FILES = ("config", "manifest", "metrics", "evaluation", "losses", "older", "newest")

MUTATIONS = {
    "flipped": lambda old, at, bit: old[:at] + bytes([old[at] ^ (1 << bit)]) + old[at + 1 :],
    "cut": lambda old, at, bit: old[:at],
    "emptied": lambda old, at, bit: b"",
    "doubled": lambda old, at, bit: old + old,
    "a huge number": lambda old, at, bit: old[:at] + b"9" * 400 + old[at:],
    "of another type": lambda old, at, bit: b'{"format": 3, "iteration": "many"}',
    "not text": lambda old, at, bit: os.urandom(100),
}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.sampled_from(sorted(MUTATIONS)), st.floats(0, 0.999), st.integers(0, 7))
def test_what_was_changed_is_noticed_or_recovered_from(
    short, readable, tmp_path_factory, name, mutation, place, bit
):
    """A changed file is detected, or the results are those of a valid state; no internal error occurs."""
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


@pytest.fixture(scope="module")
def readable(short, tmp_path_factory):
    """The valid results of each run: with the newest checkpoint, and with the previous one."""
    found = {original: [] for original in short}
    for original, kept in itertools.product(short, (2, 1)):
        copy = RunDirectory(tmp_path_factory.mktemp("copy") / "run")
        shutil.copytree(original.path, copy.path)
        for path in sorted(copy.checkpoints.iterdir())[kept:]:
            path.unlink()
        found[original].append(read(copy))
    return found


@pytest.mark.slow
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
