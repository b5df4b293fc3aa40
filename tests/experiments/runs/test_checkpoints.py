"""Checkpoints are exact, have checksums, and are never unpickled; the last two are kept."""

import numpy as np
import pytest

from experiments.harness.errors import UsageError
from experiments.harness.runs import checkpoints

RUN = "0123abcd"


def state(iteration):
    return {
        "iteration": np.int64(iteration),
        "meta/parameters/a/kernel": np.full((2, 3), iteration, "float32"),
    }


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype


def test_state_is_read_back_to_the_bit(tmp_path):
    assert_equal(checkpoints.load(checkpoints.save(tmp_path, RUN, state(7)), RUN), state(7))


def test_the_last_two_are_kept_and_nothing_else(tmp_path):
    for iteration in (1, 20, 300):
        checkpoints.save(tmp_path, RUN, state(iteration))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000020.npz", "0000000300.npz"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = checkpoints.save(tmp_path, RUN, state(1))
    before = path.read_bytes()
    monkeypatch.setattr(np, "savez", lambda file, **_: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoints.save(tmp_path, RUN, state(1))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_objects_and_damaged_files_are_refused(tmp_path):
    objects, other = tmp_path / "objects.npz", tmp_path / "other.npz"
    np.savez(objects, evil=np.array([object()], dtype=object))
    np.savez(other, **state(3))
    torn = checkpoints.save(tmp_path, RUN, state(3))
    torn.write_bytes(torn.read_bytes()[:100])
    for path in (objects, other, torn, tmp_path / "absent.npz"):
        with pytest.raises(UsageError, match=path.name):
            checkpoints.load(path, RUN)


def test_another_value_under_a_valid_archive_is_noticed(tmp_path):
    path = checkpoints.save(tmp_path, RUN, state(3))
    with np.load(path) as archive:
        changed = {**archive, "iteration": np.int64(4)}
    np.savez(path, **changed)
    with pytest.raises(UsageError, match="checksum"):
        checkpoints.load(path, RUN)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match=f"another run, {RUN}, not of 7"):
        checkpoints.load(checkpoints.save(tmp_path, RUN, state(3)), "7")


def test_the_newest_that_can_be_used_is(tmp_path, capfd):
    """The newest valid checkpoint is used, and damaged ones are reported.

    It is an error if none of them is valid, but not if there is none.
    """
    taken = []
    assert not checkpoints.recover(tmp_path, RUN, taken.append)
    older, newer = (checkpoints.save(tmp_path, RUN, state(iteration)) for iteration in (3, 4))
    assert checkpoints.recover(tmp_path, RUN, taken.append)
    assert_equal(taken.pop(), state(4))
    newer.write_bytes(b"")
    assert checkpoints.recover(tmp_path, RUN, taken.append)
    assert_equal(taken.pop(), state(3))
    assert f"not used: {newer}" in capfd.readouterr().out

    def refuse(_):
        raise ValueError("not this one")

    with pytest.raises(UsageError, match=r"no checkpoint in .* not this one.*run\.fresh=true"):
        checkpoints.recover(tmp_path, RUN, refuse)
    older.write_bytes(b"PK")
    with pytest.raises(UsageError, match=older.name):
        checkpoints.recover(tmp_path, RUN, taken.append)
    assert not taken
