"""Well-known examples of gradients, and the common error of custom updates with assigned variables."""

import math

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

START, RATE = 2.0, 0.1
SECOND_ORDER = 1 + RATE * math.sin(START)
"""``theta_1 = theta_0 - rate cos(theta_0)``, so ``d theta_1 / d theta_0 = 1 + rate sin(theta_0)``."""


def scalar(value):
    """Return a float64 tensor."""
    return tf.constant(value, tf.float64)


def descended(theta):
    """Return theta after one step down sin, with tensors only."""
    _, gradient = ml.derivatives.value_and_gradient(tf.sin, theta)
    return theta - RATE * gradient


def test_gradient_of_the_square():
    """The derivative ``2 x`` of the square is 6 at 3."""
    value, gradient = ml.derivatives.value_and_gradient(tf.square, scalar(3.0))
    assert float(value) == 9.0
    assert float(gradient) == 6.0


def test_gradient_with_respect_to_two_arguments():
    """The derivatives ``(w, x + 2 w)`` of ``x w + w^2`` are (5, 12) at x = 2, w = 5."""
    value, gradients = ml.derivatives.value_and_gradient(lambda x, w: x * w + w**2, scalar(2.0), scalar(5.0))
    assert float(value) == 35.0
    assert tuple(map(float, gradients)) == (5.0, 12.0)


def test_gradient_is_structured_as_its_argument():
    """The gradient has the structure of its argument, with nested dicts and tuples."""
    _, gradient = ml.derivatives.value_and_gradient(
        lambda p: p["b"][0] * p["a"] + p["b"][1] ** 3, {"b": (scalar(2.0), scalar(3.0)), "a": scalar(5.0)}
    )
    assert tf.nest.map_structure(float, gradient) == {"b": (5.0, 27.0), "a": 2.0}


def test_one_step_down_sin():
    """A step from 2 with rate 0.1 leads to ``2 - 0.1 cos 2 = 2.0416147``, and reduces sin."""
    theta = float(descended(scalar(START)))
    assert theta == pytest.approx(START - RATE * math.cos(START), abs=1e-15)
    assert theta == pytest.approx(2.0416147, abs=5e-8)
    assert math.sin(theta) < math.sin(START)


def test_a_step_with_tensors_keeps_the_second_derivative():
    """The derivative of the step is ``1 + 0.1 sin 2``, including the curvature of sin, to 1e-15."""
    theta, derivative = ml.derivatives.value_and_gradient(descended, scalar(START))
    assert float(theta) == pytest.approx(START - RATE * math.cos(START), abs=1e-15)
    assert float(derivative) == pytest.approx(SECOND_ORDER, abs=1e-15)


def test_a_step_with_assign_sub_loses_the_second_derivative():
    """With an assigned variable, the derivative is 1, the first-order one, without a warning."""
    variable = tf.Variable(START, dtype=tf.float64)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            value = tf.sin(variable)
        variable.assign_sub(RATE * inner.gradient(value, variable))
        theta = tf.identity(variable)
    assert float(theta) == pytest.approx(START - RATE * math.cos(START), abs=1e-15)
    assert float(outer.gradient(theta, variable)) == 1.0
    assert abs(SECOND_ORDER - 1.0) > 0.09


def test_a_start_assigned_to_a_variable_has_no_gradient_at_all():
    """TensorFlow returns ``None`` for a tensor assigned to a variable, ``value_and_gradient`` raises."""
    variable = tf.Variable(0.0, dtype=tf.float64)

    def through_variable(theta):
        variable.assign(theta)
        return tf.square(variable)

    theta = scalar(START)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        value = through_variable(theta)
    assert tape.gradient(value, theta) is None
    with pytest.raises(ValueError, match=r"no gradient reaches theta: .*assignment to a variable"):
        ml.derivatives.value_and_gradient(lambda p: through_variable(p["theta"]), {"theta": theta})


def test_only_the_missing_leaves_are_named():
    """The error names the leaves on which the value does not depend, and no others."""
    structure = {"a": {"x": scalar(1.0), "y": scalar(1.0)}, "b": scalar(1.0)}
    with pytest.raises(ValueError, match=r"no gradient reaches a/y, b:"):
        ml.derivatives.value_and_gradient(lambda s: s["a"]["x"] ** 2, structure)
    assert ml.derivatives.names(structure) == ["a/x", "a/y", "b"]


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (ml.estimators.unrolled(), SECOND_ORDER),
        (ml.estimators.checkpointed(), SECOND_ORDER),
        (ml.estimators.first_order(), 1.0),
    ],
    ids=["unrolled", "checkpointed", "first_order"],
)
def test_the_same_step_as_a_bilevel_problem(estimator, expected):
    """For ``outer_loss = theta_1``, exact estimators give ``1 + 0.1 sin 2``, the first-order one 1."""
    problem = ml.BilevelProblem(
        start=lambda meta, task: meta["parameters"],
        inner_loss=lambda parameters, meta, batch, model: tf.sin(parameters["theta"]),
        outer_loss=lambda parameters, meta, task, model: parameters["theta"],
        rule=ml.rules.sgd(RATE),
        steps=1,
    )
    empty = ml.Batch(np.zeros((1, 1, 1)), np.zeros((1, 1, 1)))
    meta = {"parameters": {"theta": scalar(START)}, "rule": {}}
    result, _ = estimator(problem, meta, tf.nest.map_structure(tf.constant, ml.Task(empty, empty)))
    assert float(result.loss[0]) == pytest.approx(START - RATE * math.cos(START), abs=1e-15)
    assert float(result.gradient["parameters"]["theta"]) == pytest.approx(expected, abs=1e-15)
