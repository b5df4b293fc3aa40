"""Mini-batches along the first axis of a task."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution.task_map import map_tasks

SUPPORT = {"x": np.arange(12.0).reshape(2, 3, 2), "label": np.arange(6).reshape(2, 3, 1)}


def task(index):
    """Return one of two tasks."""
    return ml.Task(tf.nest.map_structure(lambda leaf: tf.constant(leaf[index]), SUPPORT), ())


@pytest.mark.parametrize("step", [0, 2, 3, 7])
def test_steps_take_their_slice_and_begin_again(in_graph, step):
    """Step k uses slice ``k mod 3`` of every leaf, for integers and tensors, eagerly and in a graph."""
    batch = ml.problems.slices(3)
    expected = tf.nest.map_structure(lambda leaf: leaf[1][step % 3], SUPPORT)
    for found in (
        batch(task(1), step),
        batch(task(1), tf.constant(step)),
        in_graph(lambda k: batch(task(1), k))(tf.constant(step)),
    ):
        tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("mapping", ["vectorized", "sequential"])
@pytest.mark.parametrize("wrap", ["in_graph", "with_xla"])
def test_tasks_may_be_at_different_steps(request, wrap, mapping):
    """Mapped tasks may be at different steps, as in continued inner loops."""
    tasks = ml.Task(tf.nest.map_structure(tf.constant, SUPPORT), ())
    run = request.getfixturevalue(wrap)(
        lambda tasks, steps: map_tasks(ml.problems.slices(3), tasks, steps, mapping=mapping)
    )
    found = run(tasks, tf.constant([1, 5]))
    expected = tf.nest.map_structure(lambda leaf: np.stack([leaf[0, 1], leaf[1, 2]]), SUPPORT)
    tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (4, 2, 1)])
def test_support_of_another_shape_is_refused(shape):
    """The message shows the required shape and that of the support."""
    with pytest.raises(
        ValueError, match=r"slices\(3\) needs a support of the known shape \[T, 3, N, \.\.\.\]"
    ) as error:
        ml.problems.slices(3)(ml.Task(tf.zeros(shape), ()), 0)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("count", [0, 1.5])
def test_bad_counts_are_refused(count):
    with pytest.raises(ValueError, match=f"count must be an integer of at least 1, got {count}"):
        ml.problems.slices(count)
