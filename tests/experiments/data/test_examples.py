"""Parts of data sets: disjoint, with the requested wrong labels, and errors for invalid requests."""

import sys

import numpy as np
import pytest

from experiments.data import examples, linear, one_of_each_class
from experiments.data import examples as module_function
from experiments.harness.errors import UsageError

sources = sys.modules[module_function.__module__]

SIZES = [30, 20, 10, 15]


@pytest.fixture
def path(tmp_path):
    """Return a file of 80 examples of 4 classes, each input its own number."""
    place = tmp_path / "own.npz"
    np.savez(place, inputs=np.arange(80.0)[:, None], targets=np.arange(80) % 4)
    return str(place)


def rows(batch):
    return batch.inputs.numpy().ravel().astype(int)


def test_parts_share_no_example(path):
    parts = examples(path, SIZES)
    tasks = {part: parts.split(part).sample((0, 0), 1) for part in ("train", "validation", "test")}
    seen = [rows(tasks["train"].support), *(rows(task.query) for task in tasks.values())]
    assert [len(part) for part in seen] == SIZES
    assert len(set(np.concatenate(seen))) == sum(SIZES)
    for task in tasks.values():
        np.testing.assert_array_equal(rows(task.support), seen[0])
        np.testing.assert_array_equal(task.query.targets[0], rows(task.query) % 4)
    assert not np.array_equal(
        rows(examples(path, SIZES, seed=1).split("train").sample((0, 0), 1).support), seen[0]
    )


def test_labels_are_made_wrong(path):
    """Exactly 40 % of the labels are wrong, uniformly over classes, and ``info`` says which."""
    task = examples(path, SIZES, corruption=0.4).split("train").sample((0, 0), 1)
    true, given, wrong = (
        rows(task.support) % 4,
        task.support.targets[0].numpy(),
        task.info["wrong"][0].numpy(),
    )
    asked, labels = rows(task.query) % 4, task.info["asked_labels"][0].numpy()
    np.testing.assert_array_equal(labels != asked, task.info["asked_wrong"][0])
    assert np.sum(labels != asked) == round(0.4 * len(asked))
    assert wrong.sum() == 12
    np.testing.assert_array_equal(given != true, wrong)
    many, changed = sources.corrupted(np.zeros(6000, np.int32), 0.5, 0)
    assert not changed.any()  # of a single class there is no other
    many, changed = sources.corrupted(np.arange(6000) % 4, 0.5, 0)
    moved = (changed - np.arange(6000))[many] % 4
    assert np.abs(np.bincount(moved, minlength=4) - [0, 1000, 1000, 1000]).max() < 4 * np.sqrt(3000 * 2 / 9)


def test_baselines_of_the_same_examples(path):
    noisy, clean, oracle = (
        examples(path, SIZES, corruption=0.4, labels=labels).split("test").sample((0, 0), 1)
        for labels in ("noisy", "clean", "oracle")
    )
    right = rows(noisy.support)[~noisy.info["wrong"][0].numpy()]
    np.testing.assert_array_equal(clean.support.targets[0], rows(clean.support) % 4)
    np.testing.assert_array_equal(rows(clean.support), rows(noisy.support))
    np.testing.assert_array_equal(rows(oracle.support), np.resize(right, SIZES[0]))
    np.testing.assert_array_equal(oracle.support.targets[0], rows(oracle.support) % 4)
    assert (clean.info, oracle.info) == ((), ()) or not (clean.info or oracle.info)


def test_queries_are_drawn(path):
    parts = examples(path, [0, 20, 10, 15], batch=6)
    source = parts.split("train")
    drawn = source.sample((0, 1), 500).query.inputs.numpy()[..., 0]
    assert drawn.shape == (500, 6)
    assert all(len(set(task)) == 6 for task in drawn)
    counts = np.unique(drawn, return_counts=True)[1]
    assert len(counts) == 20
    assert np.abs(counts - 150).max() < 4 * np.sqrt(500 * 0.3 * 0.7)
    assert parts.split("test").sample((0, 0), 3).query.inputs.shape == (3, 15, 1)


def test_one_of_each_class(path):
    inputs, classes = one_of_each_class(path, [0, 20, 10, 15])
    np.testing.assert_array_equal(classes, range(4))
    np.testing.assert_array_equal(inputs.ravel() % 4, range(4))
    drawn = set(rows(examples(path, [0, 20, 10, 15]).split("train").sample((0, 0), 1).query))
    assert set(inputs.ravel()) <= drawn


def test_linear_models():
    task = linear([400, 50, 50, 50], features=6, relevant=2, noise=0.1).split("train").sample((0, 0), 1)
    x, y = (leaf.numpy()[0] for leaf in task.support)
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    np.testing.assert_allclose(weights[2:], 0, atol=0.03)
    np.testing.assert_allclose(np.std(y - x @ weights), 0.1, rtol=0.15)
    classes = linear([400, 50, 50, 50], classes=True).split("train").sample((0, 0), 1).support.targets
    assert set(np.unique(classes)) == {0, 1}


def test_the_digits():
    pytest.importorskip("sklearn")
    images, classes = sources.read("digits")
    assert (images.shape, images.min(), images.max()) == ((1797, 64), 0, 1)
    np.testing.assert_array_equal(np.unique(classes), range(10))


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    sources._digits.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'scikit-learn>=1.5', or install metalearn-tf\[data\]"):
        examples()


def save(path, **arrays):
    np.savez(path, **arrays)


X, Y = np.ones((4, 2)), np.arange(4)

BAD = {
    "no array targets": {"inputs": X},
    "have NaN or infinity": {"inputs": X * np.nan, "targets": Y},
    r"inputs \(4, 2\) and targets \(3,\)": {"inputs": X, "targets": Y[:3]},
    "targets are <U1, and have to be numbers": {"inputs": X, "targets": np.array(["a", "b", "c", "d"])},
}


@pytest.mark.parametrize("message", BAD)
def test_files_that_cannot_be(tmp_path, message):
    path = tmp_path / "own.npz"
    np.savez(path, **BAD[message])
    with pytest.raises(UsageError, match=message):
        examples(str(path), [1, 1, 1, 1])


def test_files_that_are_not_read(tmp_path):
    path = tmp_path / "own.npz"
    with pytest.raises(UsageError, match=r"does not exist: make it by numpy.savez\("):
        examples(str(path))
    np.savez_compressed(path, inputs=X, targets=Y)
    with pytest.raises(UsageError, match=r"write it by numpy\.savez, not compressed"):
        examples(str(path))
    np.savez(path, inputs=np.array([object()]), targets=Y)
    with pytest.raises(UsageError, match=r"own\.npz"):
        examples(str(path))
    path.write_bytes(b"no archive")
    with pytest.raises(UsageError, match="cannot be read as arrays"):
        examples(str(path))


def test_settings_that_cannot_be(path):
    with pytest.raises(UsageError, match="are 100 examples, but there are 80"):
        examples(path, [40, 30, 20, 10])
    with pytest.raises(UsageError, match=r"task\.corruption=1 must be"):
        examples(path, SIZES, corruption=1)
    with pytest.raises(UsageError, match="one of noisy, clean, oracle"):
        examples(path, SIZES, corruption=0.1, labels="other")
    with pytest.raises(UsageError, match="relevant=9 is more"):
        linear(features=5, relevant=9)
    with pytest.raises(
        ValueError, match=r"no examples for the part validation: raise number 3 of task\.sizes"
    ):
        examples(path, [10, 10, 0, 10]).split("validation")
