"""The choice of mapping and compiler of programs."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn.execution.choice import NotVectorizableError
from metalearn.execution.compiled import Compiled
from metalearn.execution.task_map import map_tasks

VALUES = tf.constant([[1.0, 2.0], [3.0, 4.0]])


def mapped(function):
    return lambda values: map_tasks(function, values)


def concatenated(value):
    """Return a second derivative of a concatenation, which has no vectorised form under XLA."""
    with tf.GradientTape() as outer:
        outer.watch(value)
        with tf.GradientTape() as inner:
            inner.watch(value)
            cubes = tf.reduce_sum(tf.concat([value**3, 2 * value], 0) ** 2)
        gradient = inner.gradient(cubes, value)
    return outer.gradient(gradient, value)


def strings(value):
    """Return numbers that XLA cannot compute."""
    return tf.strings.to_number(tf.strings.as_string(value))


@pytest.mark.parametrize(
    ("function", "expected", "way"),
    [
        (mapped(tf.square), VALUES**2, ("vectorized", True)),
        (mapped(concatenated), 30 * VALUES**4 + 8, ("vectorized", False)),
        (mapped(tf.nn.l2_loss), [2.5, 12.5], ("sequential", False)),
        (strings, VALUES, ("vectorized", False)),
    ],
)
def test_the_first_that_can_be_built(function, expected, way):
    """The first combination of mapping and compiler that can be built is used and reported."""
    program = Compiled(function)
    assert (program.mapping, program.jit_compile) == ("auto", None)
    program.build(VALUES)
    np.testing.assert_allclose(program(VALUES), expected)
    assert (program.mapping, program.jit_compile) == way
    np.testing.assert_allclose(program(VALUES), expected)


def test_a_program_is_built_once():
    """Building a program again, after or before calls, does not change its mapping and compiler."""
    program = Compiled(mapped(tf.square))
    program(VALUES)
    for _ in range(2):
        program.build(VALUES)
        assert (program.mapping, program.jit_compile) == ("vectorized", True)
    np.testing.assert_allclose(program(VALUES), VALUES**2)


def test_a_fault_at_run_time_is_no_reason_for_another_way():
    """An error at run time is raised, and does not change the mapping."""
    program = Compiled(lambda values: tf.debugging.check_numerics(values, "infinite"), jit_compile=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="infinite"):
        program(tf.constant([np.inf]))
    np.testing.assert_allclose(program(tf.constant([2.0])), [2])
    assert program.mapping == "vectorized"


def test_a_full_disk_is_no_reason_for_another_way(monkeypatch):
    """An error of the system at run time does not change the compiler, which would change bits."""

    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    program = Compiled(tf.square)
    program.build(VALUES)
    with monkeypatch.context() as patched:
        patched.setattr(program, "_program", full)
        with pytest.raises(tf.errors.ResourceExhaustedError, match="No space"):
            program(VALUES)
    program(VALUES)
    assert program.jit_compile


def test_settings_are_kept():
    """Given settings are used; a program that cannot be built with them is an error with a remedy."""
    for mapping, jit_compile in (("sequential", True), ("vectorized", False)):
        program = Compiled(mapped(tf.square), mapping, jit_compile)
        program(VALUES)
        assert (program.mapping, program.jit_compile) == (mapping, jit_compile)
    with pytest.raises(NotVectorizableError, match="L2Loss"):
        Compiled(mapped(tf.nn.l2_loss), "vectorized")(VALUES)
    with pytest.raises(ValueError, match=r"XLA cannot compile this program \(.*set it to False"):
        Compiled(strings, jit_compile=True)(VALUES)


def test_a_function_s_own_fault_is_raised_as_it_is():
    """An error of the function is raised after all combinations failed, as it was in the first."""
    calls = []

    def wrong(values):
        calls.append(1)
        raise KeyError(f"theirs {len(calls)}")

    with pytest.raises(KeyError, match="theirs 1"):
        Compiled(wrong)(VALUES)


def test_other_shapes_are_mapped_alike():
    """A call with more tasks is traced again with the same mapping."""
    program = Compiled(mapped(tf.nn.l2_loss))
    program(VALUES)
    np.testing.assert_allclose(program(tf.ones((3, 2))), [1.0, 1.0, 1.0])
