"""The files of traced programs: by code and configuration, checked like compiled ones."""

import errno
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from experiments.harness.cache import compiled, traced
from tests.experiments.cache.test_compiled import ROOT

CONFIG = {"training": {"iterations": 3, "carry": None}, "seed": 0}


@pytest.fixture
def cache(tmp_path):
    """Return an empty cache of this process."""
    own = tmp_path / "own"
    own.mkdir()
    return compiled.Cache(tmp_path, own, os.getpid())


def test_what_is_stored_is_there_for_the_same_code_and_settings(cache, monkeypatch):
    """It is a file of its own for another configuration, or another code; seed and length do not matter."""
    stored = traced.Stored(cache, CONFIG)
    assert stored.get("key") is None
    stored["key"] = b"content"
    assert traced.Stored(cache, {**CONFIG, "seed": 5}).get("key") == b"content"
    assert traced.Stored(cache, {**CONFIG, "training": {"carry": None}}).get("key") == b"content"
    assert traced.Stored(cache, {**CONFIG, "training": {"iterations": 3, "carry": 2}}).get("key") is None
    assert stored.get("another") is None
    monkeypatch.setattr(traced.code, "sources", lambda _: {"files": {"metalearn/nest.py": "changed"}})
    assert traced.Stored(cache, CONFIG).get("key") is None
    (path,) = cache.own.iterdir()
    assert path.suffix == ".pb"  # the cache checks and keeps these
    cache.keep()
    assert len(list(cache.store.glob("*.pb.*"))) == 1


def test_a_full_disk_is_no_error(cache, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(traced, "write_bytes", full)
    stored = traced.Stored(cache, CONFIG)
    stored["key"] = b"content"
    assert stored.get("key") is None


def test_a_process_without_a_cache_stores_nothing(monkeypatch):
    monkeypatch.setattr(compiled, "in_use", lambda: None)
    assert traced.stored(CONFIG) is None


COUNTED = """
import functools, sys
from experiments.harness.app.quiet import import_tensorflow
import_tensorflow()
import metalearn
from metalearn.evaluation import evaluation
from metalearn.training import stored
from metalearn.training.program import Program
counts = {"traced": 0, "checked": 0}
def counting(name, function):
    @functools.wraps(function)
    def counted(*arguments):
        counts[name] += 1
        return function(*arguments)
    return counted
Program.trace = counting("traced", Program.trace)
evaluation._measured = counting("traced", evaluation._measured)
diagnoses = sys.modules["metalearn.diagnostics.diagnose"]
diagnoses._diagnosis = counting("traced", diagnoses._diagnosis)
stored.check_second_derivatives = counting("checked", stored.check_second_derivatives)
import atexit
atexit.register(lambda: print("COUNTS", *counts.values()))
from experiments.__main__ import main
main()
"""

SMALL = (
    "training.iterations=4",
    "training.meta_batch_size=2",
    "model.hidden=[4]",
    "evaluation.tasks=2",
    "tracking=none",
)


@pytest.mark.slow
def test_a_second_start_traces_and_checks_nothing(tmp_path):
    """Real processes: a first start, a second one, another seed, damage, and without a cache; equal bits.

    The programs are those of the training, the diagnoses, and the evaluation.
    """

    def start(place, cache, *arguments):
        done = subprocess.run(
            [sys.executable, "-c", COUNTED, "train", *SMALL, f"paths.runs={tmp_path / place}", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "METALEARN_COMPILE_CACHE": cache},
            capture_output=True,
            text=True,
            check=True,
        )
        (run,) = (tmp_path / place).glob("sinusoid/*")
        state = np.load(max((run / "checkpoints").glob("*.npz")))
        bits = {name: state[name].tobytes() for name in state.files if name.startswith("meta/")}
        counts = re.search(r"COUNTS (\d) (\d)", done.stdout)
        tables = [(run / name).read_bytes() for name in ("evaluation.json", "diagnostics.csv")]
        return (bits, tables), tuple(map(int, counts.groups()))

    cache = str(tmp_path / "cache")
    expected, counts = start("off", "off")
    assert counts == (3, 1)
    first, counts = start("first", cache)
    assert (first, counts) == (expected, (3, 1))
    second, counts = start("second", cache)
    assert (second, counts) == (expected, (0, 0))
    stored = {path.name: path for path in (tmp_path / "cache").glob("*/traced-*")}
    other, counts = start("other", cache, "seed=1")
    assert other != expected
    assert counts == (0, 1)
    programs = [path for name, path in stored.items() if "-program-" in name]
    assert len(programs) == 5  # also those of the figure, for 5 and for 10 shots
    for program in programs:
        program.write_bytes(program.read_bytes()[:-7])
    damaged, counts = start("damaged", cache)
    assert (damaged, counts) == (expected, (3, 0))


@pytest.mark.slow
def test_workers_find_what_those_of_another_run_have_stored(tmp_path):
    """Two programs of each of two workers, and those of the chief; the second run adds nothing."""
    cache = tmp_path / "cache"
    train = sys.executable, "-m", "experiments.train", *SMALL, "training.workers=2"

    def files(place):
        subprocess.run(
            [*train, f"paths.runs={tmp_path / place}"],
            cwd=ROOT,
            env={**os.environ, "METALEARN_COMPILE_CACHE": str(cache)},
            capture_output=True,
            check=True,
        )
        return {path.name for path in cache.glob("*/traced-*")}

    found = files("first")
    assert sum("-program-" in name for name in found) == 8
    assert files("second") == found
