"""Traced programs as bytes: what can be stored, and that the stored program is the traced one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from metalearn.execution.compiled import Compiled
from metalearn.execution.traced import exported, facts_of, imported, without_counters
from metalearn.types import Batch

X = tf.constant([1.0, 2.0, 3.0])


def variable(value=2.0):
    return keras.Variable(value, dtype="float32")


def updating(variable):
    """Return a function with a loop and a branch that reads and updates a variable."""

    def function(x, count):
        def body(index, total):
            variable.assign(variable + 1.0)
            return index + 1, total + tf.cond(index % 2 == 0, lambda: x.inputs, lambda: x.targets) * variable

        _, total = tf.while_loop(lambda index, _: index < count, body, (tf.constant(0), tf.zeros([3])))
        return {"total": total, "count": (count,)}

    return function


def like(x, count):
    return {"total": count, "count": (count,)}


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_stored_program_computes_and_updates_what_the_traced_one_does(jit_compile):
    """Its results have the structure of the function's, and the variables are those of the caller."""
    first, second = variable(), variable()
    traced = tf.function(updating(first), jit_compile=jit_compile, autograph=False)
    arguments = Batch(X, 10.0 * X), tf.constant(3)
    content = exported(traced.get_concrete_function(*arguments), {"v": first}, {"mapping": "auto"})
    assert facts_of(content) == {"mapping": "auto"}
    stored = imported(content, like, {"v": second})
    for count in (3, 2):
        expected = traced(arguments[0], tf.constant(count))
        found = stored(arguments[0], tf.constant(count))
        tf.nest.assert_same_structure(found, expected)
        np.testing.assert_array_equal(found["total"], expected["total"])
        assert int(found["count"][0]) == count
        assert float(second.value) == float(first.value)
    assert float(second.value) == 7.0


@pytest.mark.parametrize("captured", [tf.random.normal([200]), variable().value])
def test_programs_with_other_tensors_are_not_stored(captured):
    """Their values would not be stored: those of a tensor, or of a variable that is not named."""
    known = variable()
    traced = tf.function(lambda x: x + known + tf.reduce_sum(captured), autograph=False)
    assert exported(traced.get_concrete_function(X), {"v": known}, {}) is None


def test_names_of_stored_functions_depend_on_their_content():
    """Functions that other processes have given the same number do not collide."""

    def content(factor):
        inner = tf.function(
            lambda x: factor * x, autograph=False, experimental_attributes={"_noinline": True}
        )
        program = tf.function(lambda x: (inner(x),), autograph=False).get_concrete_function(X)
        definition = exported(program, {}, {}).partition(b"\n")[2]
        return tf.compat.v1.GraphDef.FromString(definition)

    names = [
        {function.signature.name for function in content(factor).library.function} for factor in (2.0, 3.0)
    ]
    assert [len(each) for each in names] == [2, 2]
    assert not names[0] & names[1]
    assert all(name.startswith("traced_") for name in names[0] | names[1])


def test_graphs_without_counters_are_equal_if_their_operations_are():
    """The numbers of functions and of custom derivatives are left out, constants are not."""

    @tf.custom_gradient
    def doubled(x):
        return 2.0 * x, lambda upstream: 2.0 * upstream

    def graph(factor):
        called = tf.function(lambda x: factor * x, autograph=False)
        program = tf.function(lambda x: called(doubled(x)), autograph=False).get_concrete_function(X)
        return program.graph.as_graph_def()

    first, second, other = graph(2.0), graph(2.0), graph(3.0)
    assert first.SerializeToString(deterministic=True) != second.SerializeToString(deterministic=True)
    kept = [without_counters(each).SerializeToString(deterministic=True) for each in (first, second, other)]
    assert kept[0] == kept[1] != kept[2]


def strings(value):
    """Return numbers that XLA cannot compute."""
    return tf.strings.to_number(tf.strings.as_string(value))


def test_mapping_compiler_and_the_reason_are_stored():
    """Another process uses the same ones, says so, and has only later choices left."""
    first = Compiled(strings)
    first.build(X)
    assert first.jit_compile is True  # XLA compiles at the first call
    np.testing.assert_array_equal(first(X), X)
    assert (first.mapping, first.jit_compile) == ("vectorized", False)
    content = first.exported((X,), {})
    second = Compiled(lambda _: pytest.fail("it is traced"))
    second.use(content, lambda x: x, {})
    second.build(X)
    assert (second.mapping, second.jit_compile) == ("vectorized", False)
    np.testing.assert_array_equal(second(X), X)
    assert second._ways == [("sequential", False)]
    assert second._notice == first._notice != ""


def test_a_stored_program_that_xla_cannot_compile_gives_way_to_the_next_choice():
    first = Compiled(strings)
    content = first.exported((X,), {})
    second = Compiled(strings)
    second.use(content, lambda x: x, {})
    np.testing.assert_array_equal(second(X), X)
    assert (second.mapping, second.jit_compile) == ("vectorized", False)
