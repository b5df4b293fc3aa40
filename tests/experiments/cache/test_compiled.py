"""The cache of compiled programs: damaged files are never used, and processes do not affect each other."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.harness.cache import compiled
from experiments.harness.errors import UsageError

ROOT = Path(compiled.__file__).resolve().parents[3]


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Return a function that opens the cache as a new process does."""
    monkeypatch.setenv("METALEARN_COMPILE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    monkeypatch.setattr(compiled, "_digest", lambda: "digest")
    monkeypatch.setattr(compiled.atexit, "register", lambda function: None)
    return compiled.opened.__wrapped__


def stored(cache):
    return {path.name for path in cache.store.glob("*.pb.*")}


def program(content, name="program"):
    return f"{name}.pb.{hashlib.sha256(content).hexdigest()}"


def test_what_a_process_has_compiled_is_there_for_the_next(opened):
    first = opened()
    (first.own / "program.pb").write_bytes(b"code")
    first.keep()
    assert stored(first) == {program(b"code")}
    second = opened()
    assert (second.own / "program.pb").read_bytes() == b"code"
    (second.own / "another.pb").write_bytes(b"more")
    first.close()
    assert not first.own.exists()
    second.close()
    assert stored(second) == {program(b"code"), program(b"more", "another")}
    assert {path.name for path in second.store.iterdir()} == stored(second)


@pytest.mark.parametrize("damaged", [b"", b"cod", b"c0de", b"code and more"])
def test_what_is_damaged_is_removed_before_it_is_used(opened, damaged):
    first = opened()
    (first.own / "program.pb").write_bytes(b"code")
    first.close()
    (first.store / program(b"code")).write_bytes(damaged)
    second = opened()
    assert not list(second.own.iterdir())
    assert not stored(second)


def test_what_a_killed_process_left_is_removed(opened, monkeypatch):
    left, running = opened(), opened()
    monkeypatch.setattr(compiled, "YOUNG", -1)
    for descriptor in Path("/proc/self/fd").iterdir():
        if descriptor.exists() and descriptor.resolve() == left.own:
            os.close(int(descriptor.name))
    opened()
    assert not left.own.exists()
    assert running.own.exists()


def test_the_oldest_programs_go_first(opened, monkeypatch):
    first = opened()
    for age in range(4):
        (first.own / f"{age}.pb").write_bytes(bytes([age]) * 10)
        os.utime(first.own / f"{age}.pb", (1000 - age, 1000 - age))
    first.close()
    monkeypatch.setattr(compiled, "LARGEST", 25)
    assert stored(opened()) == {program(bytes([age]) * 10, f"{age}") for age in (0, 1)}


def test_only_what_changes_a_program_has_a_folder_of_its_own(monkeypatch):
    digest = compiled._digest()
    monkeypatch.setenv("METALEARN_COMMAND", "another")
    monkeypatch.setenv("TF_CONFIG", "addresses of workers, whose ports differ in each run")
    assert compiled._digest() == digest
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert compiled._digest() != digest


def test_where_there_is_none(opened, monkeypatch, tmp_path):
    """The cache is disabled by a setting, by the user's own flag, or if others may write to its folder.

    An error is raised only if the folder was requested.
    """
    monkeypatch.setenv("TF_XLA_FLAGS", f"{compiled.FLAG}=/theirs")
    assert opened() is None
    monkeypatch.delenv("TF_XLA_FLAGS")
    monkeypatch.setenv("METALEARN_COMPILE_CACHE", "off")
    assert opened() is None
    (tmp_path / "metalearn").mkdir(mode=0o777)
    (tmp_path / "metalearn").chmod(0o777)
    monkeypatch.setenv("METALEARN_COMPILE_CACHE", str(tmp_path / "metalearn"))
    with pytest.raises(UsageError, match=r"metalearn: no programs .*nobody else may write.*or off"):
        opened()
    monkeypatch.delenv("METALEARN_COMPILE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert opened() is None
    (tmp_path / "metalearn").chmod(0o700)
    assert opened().store.parent == tmp_path / "metalearn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 3)  # of whom no database knows a home
    assert opened() is None


def test_the_environment_stays_as_it_was(opened, monkeypatch):
    """The environment variable is restored, because runs record it and processes inherit it."""
    monkeypatch.setattr(compiled, "opened", opened)
    for before in (None, "--tf_xla_clustering_debug"):
        if before is not None:
            monkeypatch.setenv("TF_XLA_FLAGS", before)
        with compiled.flagged():
            assert f'{compiled.FLAG}="' in os.environ["TF_XLA_FLAGS"]
            assert (before or "") in os.environ["TF_XLA_FLAGS"]
        assert os.environ.get("TF_XLA_FLAGS") == before


TRAINING = """
from experiments.harness.app.quiet import import_tensorflow
import_tensorflow()
import hashlib, keras, metalearn as ml
learner = ml.MetaLearner(ml.models.mlp(hidden=(20, 20)), "mse", ml.rules.sgd(0.01), steps=2)
trainer = ml.MetaTrainer(learner, ml.tasks.Sinusoid(5, 5), keras.optimizers.Adam(), meta_batch_size=3)
trainer.run(20)
state = repr([value.tolist() for value in trainer.state().values()])
print(trainer.jit_compile, hashlib.sha256(state.encode()).hexdigest())
"""


@pytest.mark.slow
def test_trained_parameters_have_the_same_bits(tmp_path):
    """Results have equal bits without a cache, with an empty one, from it, and with a damaged one."""

    def trained(cache):
        done = subprocess.run(
            [sys.executable, "-c", TRAINING],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "METALEARN_COMPILE_CACHE": str(cache)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    cache = tmp_path / "with a space"
    expected = trained("off")
    assert expected.startswith("True ")
    assert trained(cache) == expected
    (entry,) = cache.glob("*/*.pb.*")
    written = entry.stat().st_mtime_ns, entry.stat().st_ino
    assert trained(cache) == expected
    assert (entry.stat().st_mtime_ns, entry.stat().st_ino) == written  # was not compiled again
    content = bytearray(entry.read_bytes())
    for damaged in (content[: len(content) // 2], bytes(each ^ 1 for each in content)):
        (entry,) = cache.glob("*/*.pb.*")
        entry.write_bytes(damaged)
        assert trained(cache) == expected
