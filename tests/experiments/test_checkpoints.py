"""Checkpoints: exact, the last two kept, and never unpickled."""

import numpy as np
import pytest

from experiments.harness import checkpoints
from experiments.harness.cli import UsageError


def state(iteration):
    return {
        "iteration": np.int64(iteration),
        "meta/parameters/a/kernel": np.full((2, 3), iteration, "float32"),
    }


def test_state_is_read_back_to_the_bit(tmp_path):
    loaded = checkpoints.load(checkpoints.save(tmp_path, state(7)))
    assert loaded.keys() == state(7).keys()
    for name, value in state(7).items():
        np.testing.assert_array_equal(loaded[name], value)
        assert loaded[name].dtype == value.dtype


def test_the_last_two_are_kept_and_nothing_else(tmp_path):
    for iteration in (1, 20, 300):
        checkpoints.save(tmp_path, state(iteration))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000020.npz", "0000000300.npz"]
    assert checkpoints.newest(tmp_path).name == "0000000300.npz"


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoints.newest(tmp_path) is None


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = checkpoints.save(tmp_path, state(1))
    before = path.read_bytes()
    monkeypatch.setattr(np, "savez", lambda file, **_: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoints.save(tmp_path, state(1))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_objects_and_damaged_files_are_refused(tmp_path):
    objects = tmp_path / "objects.npz"
    np.savez(objects, evil=np.array([object()], dtype=object))
    torn = checkpoints.save(tmp_path, state(3))
    torn.write_bytes(torn.read_bytes()[:100])
    for path in (objects, torn, tmp_path / "absent.npz"):
        with pytest.raises(UsageError, match=path.name):
            checkpoints.load(path)
