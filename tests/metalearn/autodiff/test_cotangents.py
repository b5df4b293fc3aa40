"""Pullbacks of functions that carry integers along, against closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn.autodiff import pullback, value_and_gradient

A = tf.constant([1.0, -2.0], tf.float64)


def test_one_primal_against_the_closed_form():
    """The pullback of ``(x^2, sum x)`` equals ``J' c`` exactly, for two cotangents."""
    value, pull = pullback(lambda x: {"squares": x**2, "sum": tf.reduce_sum(x)}, A)
    np.testing.assert_array_equal(value["squares"], A**2)
    for c, d in ((A, 3.0), (2 * A, -1.0)):
        np.testing.assert_array_equal(pull({"squares": c, "sum": tf.constant(d, tf.float64)}), 2 * A * c + d)


def step(inner, rate):
    """A step of an inner loop that updates parameters and a counter; the state has integers and booleans."""
    moved = inner["w"] * (1 - rate * tf.cast(inner["step"] + 1, tf.float64))
    return {"w": moved, "step": inner["step"] + 1, "done": inner["step"] > 5, "unused": inner["unused"] * 0}


INNER = {"w": A, "step": tf.constant(2), "done": tf.constant(False), "unused": tf.constant([1.0])}


def test_integers_take_no_part():
    """Integers have zero cotangents; for ``w' = w (1 - 3 r)``, w has ``(1 - 3 r) c`` and r has ``-3 w.c``."""
    rate = tf.constant(0.1, tf.float64)
    value, pull = pullback(step, INNER, rate)
    assert int(value["step"]) == 3
    c = {"w": tf.constant([3.0, 1.0], tf.float64), "step": None, "done": None, "unused": tf.constant([0.0])}
    inner, of_rate = pull(c)
    np.testing.assert_allclose(inner["w"], 0.7 * c["w"].numpy(), rtol=1e-14)
    np.testing.assert_allclose(of_rate, -3 * np.sum(A * c["w"]), rtol=1e-14)
    for key in ("step", "done", "unused"):
        assert inner[key].dtype == INNER[key].dtype
        assert not np.any(inner[key])
    again, _ = pull({**c, "step": tf.constant(9), "done": tf.constant(True)})
    np.testing.assert_array_equal(again["w"], inner["w"])


@pytest.mark.parametrize("jit", [False, True])
def test_cotangents_go_round_a_loop_of_the_graph(jit):
    """Pulled back through three steps in a graph loop, ``sum w_3`` has ``(1 - r)(1 - 2 r)(1 - 3 r)``."""
    rate = tf.constant(0.1, tf.float64)
    start = {**INNER, "step": tf.constant(0)}

    @tf.function(jit_compile=jit, autograph=False)
    def backwards():
        def body(k, cotangent, total):
            inner = {**start, "step": 2 - k}
            _, pull = pullback(step, inner, rate)
            _, of_rate = pull(cotangent)
            after, _ = pull(cotangent)
            return k + 1, after, total + of_rate

        first = {**tf.nest.map_structure(tf.zeros_like, start), "w": tf.ones_like(A)}
        return tf.while_loop(lambda k, *_: k < 3, body, (0, first, tf.zeros_like(rate)))[1:]

    cotangent, _ = backwards()
    np.testing.assert_allclose(cotangent["w"], np.full(2, 0.9 * 0.8 * 0.7), rtol=1e-14)


def test_it_can_be_differentiated():
    """The derivative of ``<J'(x) c, 1>`` with respect to x is ``6 x c`` for ``x^3``, to 1e-14."""

    def slope(x):
        _, pull = pullback(lambda y: y**3, x)
        return tf.reduce_sum(pull(A))

    np.testing.assert_allclose(value_and_gradient(slope, A)[1], 6 * A * A, rtol=1e-14)


def test_leaves_are_told_apart_and_nothing_stays_nothing():
    _, pull = pullback(
        lambda x, y: tf.reduce_sum(x["a"] * x["b"] ** 2 + A * y[0]), {"a": A, "b": A}, (A, None)
    )
    first, second = pull(tf.constant(1.0, tf.float64))
    np.testing.assert_array_equal(first["a"], A**2)
    np.testing.assert_array_equal(first["b"], 2 * A**2)
    np.testing.assert_array_equal(second[0], A)
    assert second[1] is None


def test_cotangents_that_do_not_fit_are_named():
    _, pull = pullback(step, INNER, tf.constant(0.1, tf.float64))
    good = {"w": A, "step": None, "done": None, "unused": tf.constant([0.0])}
    with pytest.raises(ValueError, match=r"cotangent .*missing \['w'\]"):
        pull({key: value for key, value in good.items() if key != "w"})
    with pytest.raises(ValueError, match="cotangent has float32"):
        pull({**good, "w": tf.zeros(2)})
    _, pull = pullback(lambda x: tf.raw_ops.SoftsignGrad(gradients=x, features=x), A)
    with pytest.raises(ValueError, match="the operation SoftsignGrad has no derivative"):
        pull(A)
