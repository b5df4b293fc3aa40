"""metrics.csv is exact and append-only, and is truncated to the iteration of a checkpoint."""

import numpy as np
import pytest

from experiments.harness.errors import UsageError
from experiments.harness.runs import metrics


def rows(count, seed=0):
    random = np.random.default_rng(seed)
    values = random.lognormal(size=(2, count)).astype(np.float32) * np.float32(1e-3)
    return {"outer/loss": values[0], "meta_gradient/norm": values[1]}


def test_what_is_appended_is_read_back_to_the_bit(tmp_path):
    path = tmp_path / "metrics.csv"
    metrics.append(path, 0, rows(5))
    metrics.append(path, 5, rows(3, seed=1))
    history = metrics.read(path)
    for name in history:
        np.testing.assert_array_equal(history[name], np.concatenate([rows(5)[name], rows(3, seed=1)[name]]))
    assert path.read_text().splitlines()[0] == "iteration,outer/loss,meta_gradient/norm"


def test_going_back_keeps_the_rows_of_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    nothing = metrics.position(path)
    metrics.append(path, 0, rows(5))
    whole, position = path.read_bytes(), metrics.position(path)
    metrics.append(path, 5, rows(2, seed=1))
    with path.open("a") as file:
        file.write("7,0.1")  # a torn row
    metrics.go_back(path, position)
    assert path.read_bytes() == whole
    metrics.append(path, 5, rows(2, seed=1))
    expected = np.concatenate([rows(5)["outer/loss"], rows(2, seed=1)["outer/loss"]])
    np.testing.assert_array_equal(metrics.read(path)["outer/loss"], expected)
    metrics.go_back(path, nothing)
    assert not path.exists()
    metrics.go_back(path, nothing)


@pytest.mark.parametrize("change", [lambda old: old[:-1], lambda old: old.replace(b"1", b"2"), lambda _: b""])
def test_rows_that_were_changed_since_are_noticed(tmp_path, change):
    path = tmp_path / "metrics.csv"
    metrics.append(path, 0, rows(5))
    position = metrics.position(path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UsageError, match="was changed or truncated after the checkpoint"):
        metrics.go_back(path, position)
    path.unlink()
    with pytest.raises(UsageError, match="cannot be cut"):
        metrics.go_back(path, position)


@pytest.mark.parametrize(
    "content", ["", "iteration,a\n0,1\n2,1\n", "iteration,a\n0,x\n", "a,b\n0,1\n", "iteration,a,b\n0,1\n"]
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "metrics.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"metrics\.csv cannot be read"):
        metrics.read(path)
