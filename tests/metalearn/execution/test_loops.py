"""Loops in Python and in the graph against an explicit loop."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn.execution.loops import fold, scan

RUNS = {
    "python": (False, lambda function: function),
    "eager": (True, lambda function: function),
    "graph": (True, lambda function: tf.function(function, autograph=False)),
    "xla": (True, lambda function: tf.function(function, jit_compile=True, autograph=False)),
}


def start():
    """Return a carry of two leaves of different shapes and types."""
    return {"vector": tf.constant([1.0, 2.0], tf.float64), "nested": (tf.constant(3),)}


def body(carry, step):
    """Return the next carry; it depends on the step, and the leaves on each other."""
    vector, (count,) = carry["vector"], carry["nested"]
    vector = 0.5 * vector + tf.cast(step, tf.float64) + 0.1 * tf.cast(count, tf.float64)
    return {"vector": vector, "nested": (count + tf.cast(step, tf.int32),)}


def explicit(length):
    """Return all carries, from the first to the last, by the same recursion in NumPy."""
    vector, count = np.array([1.0, 2.0]), 3
    carries = [(vector, count)]
    for step in range(length):
        vector, count = 0.5 * vector + step + 0.1 * count, count + step
        carries.append((vector, count))
    return carries


def assert_carry(carry, expected):
    """Check a carry, or a history of carries, against the explicit one."""
    np.testing.assert_allclose(carry["vector"], expected[0], rtol=1e-15)
    np.testing.assert_array_equal(carry["nested"][0], expected[1])


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("length", [0, 1, 4])
def test_fold(run, length):
    """The last carry equals that of the explicit loop."""
    in_graph, wrap = RUNS[run]
    carry = wrap(lambda carry: fold(body, carry, length, in_graph=in_graph))(start())
    assert_carry(carry, explicit(length)[-1])


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("length", [0, 1, 4])
def test_scan(run, length):
    """The last carry and the carry before each step equal those of the explicit loop."""
    in_graph, wrap = RUNS[run]

    def loop(carry):
        last, before = scan(body, carry, length, in_graph=in_graph)
        steps = tf.range(length) if in_graph else range(length)
        return last, [before(steps[index]) for index in range(length)]

    last, visited = wrap(loop)(start())
    *expected, expected_last = explicit(length)
    assert_carry(last, expected_last)
    assert len(visited) == length
    for carry, wanted in zip(visited, expected, strict=True):
        assert_carry(carry, wanted)


@pytest.mark.parametrize("run", ["eager", "graph", "xla"])
@pytest.mark.parametrize("length", [0, 4])
def test_whole_history_of_a_graph_scan(run, length):
    """``before(slice(None))`` stacks all carries but the last, steps first."""
    wrap = RUNS[run][1]
    history = wrap(lambda carry: scan(body, carry, length, in_graph=True)[1](slice(None)))(start())
    vectors, counts = zip(*explicit(length)[:-1], strict=True) if length else (np.zeros((0, 2)), [])
    assert history["vector"].shape == (length, 2)
    assert_carry(history, (np.stack(vectors) if length else vectors, np.array(counts, np.int32)))
