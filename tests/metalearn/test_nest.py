"""Nested tensors as vectors: layout, names, and messages that name the leaf."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from metalearn.nest import (
    as_type,
    distinct,
    epsilon,
    flat,
    matched,
    names,
    ravel,
    raveled_operator,
)
from metalearn.types import Batch


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_ravel_is_inverted_and_lays_leaves_out_in_the_order_of_names(points, joined, data):
    x, _ = data.draw(points)
    vector, unravel = ravel(x)
    np.testing.assert_array_equal(vector, joined(x))
    back = unravel(vector)
    tf.nest.assert_same_structure(back, x)
    for leaf, original in zip(tf.nest.flatten(back), tf.nest.flatten(x), strict=True):
        np.testing.assert_array_equal(leaf, original)
    assert len(names(x)) == len(tf.nest.flatten(x))


def test_names_follow_sorted_keys():
    x = {"b": (tf.zeros(1), [tf.zeros(2)]), "a": {"k": tf.zeros(3)}}
    assert names(x) == ["a/k", "b/0", "b/1/0"]
    assert [leaf.shape[0] for leaf in tf.nest.flatten(x)] == [3, 1, 2]


def test_names_of_named_tuples_are_their_fields():
    batch = Batch({"b": tf.zeros(1), "a": tf.zeros(2)}, [tf.zeros(3)])
    assert names((batch, Batch(1.0, 2.0))) == [
        "0/inputs/a",
        "0/inputs/b",
        "0/targets/0",
        "1/inputs",
        "1/targets",
    ]
    assert isinstance(matched("v", (1.0, 2.0), Batch(3.0, 4.0)), Batch)
    with pytest.raises(ValueError, match=r"v has int32 .* at targets"):
        matched("v", Batch(1.0, 2), Batch(3.0, 4.0))


def test_distinct_separates_one_tensor_given_twice():
    leaf = tf.constant([1.0])
    x = distinct({"a": leaf, "b": leaf})
    assert x["a"] is not x["b"]
    assert x["a"] is not leaf
    with pytest.raises(ValueError, match="b is int32"):
        distinct({"a": leaf, "b": tf.constant(1)})


@pytest.mark.parametrize(
    ("given_structure", "message"),
    [
        ({"a": tf.zeros(2)}, r"missing \['b'\], unknown \[\]"),
        ({"a": tf.zeros(2), "c": tf.zeros([])}, r"missing \['b'\], unknown \['c'\]"),
        ({"a": tf.zeros(3), "b": tf.zeros([])}, r"v has float32 \(3,\) at a, where float32 \(2,\)"),
        ({"a": np.zeros(2), "b": tf.zeros([])}, r"v has float64 \(2,\) at a, where float32 \(2,\)"),
    ],
)
def test_matched_names_what_differs(given_structure, message):
    with pytest.raises(ValueError, match=message):
        matched("v", given_structure, {"a": tf.zeros(2), "b": tf.zeros([])})


def test_matched_converts_and_packs():
    result = matched("v", [np.ones(2, np.float32)], (tf.zeros(2),))
    assert isinstance(result, tuple)
    assert isinstance(result[0], tf.Tensor)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({}, "empty structure"),
        ({"a": tf.zeros(1), "b": tf.zeros(1, tf.float64)}, "b is float64.*first leaf is float32"),
        (tf.constant(1), "the tensor itself is int32"),
    ],
)
def test_ravel_refuses(x, message):
    with pytest.raises(ValueError, match=message):
        ravel(x)


def test_ravel_needs_known_shapes():
    @tf.function(input_signature=[tf.TensorSpec([None])])
    def of_unknown(x):
        return ravel({"a": x})[0]

    with pytest.raises(ValueError, match=r"a has the shape \(None,\)"):
        of_unknown(tf.zeros(2))


def test_operator_that_returns_something_else_is_named():
    operator = raveled_operator(lambda x: {"a": x["a"][:1]}, {"a": tf.zeros(2)})
    with pytest.raises(ValueError, match=r"the operator's result has float32 \(1,\) at a"):
        operator(tf.zeros(2))


def test_flat_keeps_leading_axes_and_the_type_of_the_first_leaf(as_vector):
    x = {"b": tf.reshape(tf.range(12), [2, 3, 2]), "a": tf.constant([[0.5], [1.5]], tf.float64)}
    for axes, expected in ((0, [14]), (1, [2, 7])):
        result = flat(x, axes)
        assert result.shape == expected
        assert result.dtype == tf.float64
        np.testing.assert_array_equal(result, as_vector(x, axes))
    np.testing.assert_array_equal(flat(tf.constant(3.0)), [3.0])


def test_flat_passes_an_unknown_leading_axis_and_names_any_other():
    @tf.function(input_signature=[tf.TensorSpec([None, 2])], autograph=False)
    def rows(x):
        return flat({"a": x, "b": x[:, :1]}, 1)

    np.testing.assert_array_equal(rows(tf.constant([[1.0, 2.0]])), [[1, 2, 1]])
    with pytest.raises(ValueError, match=r"a has the shape \(2, None\).*after 1 leading axes"):
        tf.function(lambda x: flat({"a": x}, 1)).get_concrete_function(tf.TensorSpec([2, None]))
    with pytest.raises(ValueError, match="empty structure"):
        flat({})


def test_epsilon():
    assert epsilon(tf.float32) == 2.0**-23
    assert epsilon(tf.float64) == 2.0**-52


def test_numbers_are_not_rounded_to_float32():
    assert float(as_type(0.1, tf.float64)) == 0.1
    assert as_type(tf.constant(0.5), tf.float64).dtype == tf.float64
