"""The meaning of ``"auto"``: the vectorised form of a whole program, or the sequential one."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from metalearn.execution import choice
from metalearn.execution.choice import NotVectorizableError, always_sequential, auto_is, chosen, resolved
from metalearn.execution.task_map import map_tasks

VALUES = tf.constant([[1.0, 2.0], [3.0, 4.0]])


@pytest.fixture(autouse=True)
def anew():
    """Reset the record of logged messages for every test."""
    choice.log_once.cache_clear()


def test_auto_is_vectorised_or_sequential(caplog):
    """With ``auto``, an operation without a vectorised form is mapped sequentially, with one warning."""
    np.testing.assert_array_equal(map_tasks(tf.square, VALUES), VALUES**2)
    assert not caplog.records
    for _ in range(2):
        np.testing.assert_array_equal(map_tasks(tf.nn.l2_loss, VALUES), [2.5, 12.5])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "no vectorised form of L2Loss" in record.message


def test_programs_are_built_in_one_way():
    """If one map in a program is sequential, all maps in it are."""
    seen = []

    def program():
        seen.append(resolved("auto"))
        map_tasks(tf.square, VALUES)
        return map_tasks(tf.nn.l2_loss, VALUES)

    np.testing.assert_array_equal(chosen(program), [2.5, 12.5])
    assert seen == ["vectorized", "sequential"]


def test_what_a_mapping_stands_for():
    """A given mapping is used, except in a context that is always sequential."""
    assert resolved("auto") == "auto"
    with auto_is("vectorized"):
        assert [resolved(each) for each in ("auto", "sequential")] == ["vectorized", "sequential"]
        with always_sequential():
            assert [resolved(each) for each in ("auto", "vectorized")] == ["sequential", "sequential"]
    assert resolved("auto") == "auto"


@pytest.mark.parametrize("mapping", ["auto", "vectorized", "sequential"])
def test_a_function_s_own_fault_is_raised_as_it_is(mapping):
    """An error of the mapped function is raised unchanged, not as a missing vectorised form."""

    def wrong(value):
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        map_tasks(wrong, VALUES, mapping=mapping)


def test_the_operation_is_named():
    """The error names the operation for all messages of TensorFlow, and whether only XLA lacks the form."""
    missing = NotVectorizableError(ValueError("No pfor vectorization defined for ScatterNd\n name: ..."))
    assert "no vectorised form of ScatterNd: map tasks one after the other" in str(missing)
    varying = NotVectorizableError(
        ValueError("Input \"filter\" of op 'Conv2D' expected to be loop invariant")
    )
    assert "no vectorised form of Conv2D: " in str(varying)
    under = NotVectorizableError(ValueError("No pfor vectorization defined for XlaDynamicUpdateSlice"))
    assert under.under_xla
    assert "XlaDynamicUpdateSlice under XLA: compile without it" in str(under)
    other = NotVectorizableError(TypeError("in user code:\n\n  variant is not compatible\n"))
    assert "an operation (variant is not compatible)" in str(other)
