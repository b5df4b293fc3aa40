"""Lengths, angles and fractions of vectors, also for zeros, infinities and NaN."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn.diagnostics.angles import cosine, flat, largest, lengths, norm, numbers, share, unit

ROWS = tf.constant([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [3e30, 4e30], [0.0, np.nan]])


@pytest.fixture(params=["eager", "xla"])
def run(request, with_xla):
    """Return a function in eager and in compiled form, which differ in the maximum of NaN."""
    return with_xla if request.param == "xla" else lambda function: function


def test_flat():
    """Leaves are concatenated in order, row-major, in the type of the first; a leading axis is kept."""
    structure = {"b": tf.constant([[[1.0, 2.0]], [[3.0, 4.0]]], tf.float64), "a": tf.constant([5.0, 6.0])}
    assert flat(structure).numpy().tolist() == [5, 6, 1, 2, 3, 4]
    assert flat(structure).dtype == tf.float32
    assert flat(structure, axes=1).numpy().tolist() == [[5, 1, 2], [6, 3, 4]]


def test_norm_and_unit(run):
    """Norms equal 5, 0 and 5e30 to 1e-6, also if squares overflow; non-finite vectors have the norm NaN."""
    np.testing.assert_allclose(run(norm)(ROWS), [5, 0, np.nan, np.nan, 5e30, np.nan], rtol=1e-6)
    directions = run(unit)(ROWS).numpy()
    np.testing.assert_allclose(directions[[0, 1, 4]], [[0.6, 0.8], [0, 0], [0.6, 0.8]], rtol=1e-6)
    assert np.isnan(directions[[2, 3, 5]]).any(1).all()


def test_numbers():
    """Every entry is numbered by the index of its leaf."""
    structure = {"b": tf.zeros([2, 2]), "a": tf.zeros([3]), "c": tf.constant(1.0)}
    assert numbers(structure).numpy().tolist() == [0, 0, 0, 1, 1, 1, 1, 2]


def test_lengths_of_parts(run):
    """Each part has its norm and its direction, to 1e-6; a NaN does not affect other parts."""
    rows = {f"row_{index}": row for index, row in enumerate(tf.unstack(ROWS))}
    vector = flat(rows)
    found, directions = run(lambda vector: lengths(vector, rows))(vector)
    doubled, same = run(lambda vectors: lengths(vectors, rows))(tf.stack([vector, 2 * vector]))
    np.testing.assert_array_equal(doubled, [found, 2 * found])
    np.testing.assert_array_equal(same, [directions, directions])
    np.testing.assert_allclose(found, [5, 0, np.nan, np.nan, 5e30, np.nan], rtol=1e-6)
    rows = directions.numpy().reshape(6, 2)
    np.testing.assert_allclose(rows[[0, 1, 4]], [[0.6, 0.8], [0, 0], [0.6, 0.8]], rtol=1e-6)
    assert np.isnan(rows[[2, 3, 5]]).any(1).all()


def test_cosine(run):
    """The cosine equals 24/25, is 0 for a zero vector, and NaN for a non-finite one, to 1e-6."""
    found = run(cosine)(ROWS, tf.constant([4.0, 3.0]))
    np.testing.assert_allclose(found, [0.96, 0, np.nan, np.nan, 0.96, np.nan], rtol=1e-6)


def test_share_and_largest(run):
    """Fraction and maximum are correct, and NaN as soon as one entry is NaN."""
    share_beyond = run(lambda values: share(values > 2, of=values))
    assert share_beyond(tf.constant([1.0, 3.0])) == 0.5
    assert run(largest)(tf.constant([1.0, 3.0])) == 3
    assert np.isnan(share_beyond(tf.constant([1.0, 3.0, np.nan])))
    assert np.isnan(run(largest)(tf.constant([1.0, 3.0, np.nan])))
