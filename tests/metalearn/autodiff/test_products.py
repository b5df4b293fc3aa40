"""Products with Jacobians and Hessians, against closed forms and against differences of gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import metalearn as ml
from metalearn.autodiff import central_differences, hessian, hvp, jvp, value_and_gradient, vjp
from metalearn.autodiff.products import MODES
from metalearn.nest import ravel

MODE = pytest.mark.parametrize("mode", MODES)
A = tf.constant([1.0, -2.0], tf.float64)


@settings(max_examples=12, deadline=None)
@given(st.data(), st.sampled_from([*MODES, "jvp", "vjp"]))
def test_products_on_any_structure(points, joined, cubic, data, kind):
    x, v = data.draw(points)
    z, w = joined(x).numpy(), joined(v).numpy()
    function = cubic(len(z))

    def outputs(x):
        return {"squares": joined(x) ** 2, "image": [tf.linalg.matvec(function.matrix, joined(x))]}

    if kind == "jvp":
        value, tangent = jvp(outputs, x, v)
        np.testing.assert_allclose(value["squares"], z**2, rtol=1e-14)
        np.testing.assert_allclose(tangent["squares"], 2 * z * w, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(tangent["image"][0], function.matrix @ w, rtol=1e-12, atol=1e-12)
        return
    if kind == "vjp":
        _, product = vjp(outputs, x, {"squares": w, "image": [z]})
        expected = 2 * z * w + function.matrix @ z
    else:
        product = hvp(lambda x: function(joined(x)), x, v, kind)
        expected = function.hessian(z) @ w
    tf.nest.assert_same_structure(product, x)
    np.testing.assert_allclose(joined(product), expected, rtol=1e-11, atol=1e-11)


def everything(function, x, v):
    """Return all that the module computes, as a dict."""
    one = tf.constant(1.0, tf.float64)
    products = {mode: hvp(function, x, v, mode) for mode in MODES}
    return {
        **products,
        "jvp": jvp(function, x, v),
        "vjp": vjp(function, x, one),
        "hessian": hessian(function, x),
    }


@pytest.fixture(scope="module")
def eager(network):
    """Return all products for the network at its parameters, along their cosine."""
    loss, parameters = network
    return everything(loss, parameters, tf.nest.map_structure(tf.cos, parameters))


def test_network_against_differences_of_gradients(network, eager, as_vector):
    loss, parameters = network
    gradient = tf.function(lambda p: value_and_gradient(loss, p)[1], autograph=False)
    flat, unravel = ravel(parameters)
    columns = []
    for unit in np.eye(len(flat)):
        column, error = central_differences(gradient, parameters, unravel(tf.constant(unit)))
        assert as_vector(error).max() < 2e-9
        columns.append(as_vector(column))
    dense, direction = eager["hessian"].numpy(), np.cos(flat)
    np.testing.assert_allclose(dense, np.stack(columns, 1), rtol=0, atol=1e-10)
    np.testing.assert_allclose(dense, dense.T, rtol=0, atol=1e-14)
    for mode in MODES:
        np.testing.assert_allclose(as_vector(eager[mode]), dense @ direction, rtol=0, atol=1e-13)
    slope = as_vector(gradient(parameters))
    np.testing.assert_allclose(as_vector(eager["vjp"][1]), slope, rtol=0, atol=1e-14)
    np.testing.assert_allclose(eager["jvp"][1], slope @ direction, rtol=0, atol=1e-13)


def test_logistic_regression_in_both_types():
    rng = np.random.default_rng(0)
    inputs, labels, weights = rng.standard_normal((9, 4)), rng.integers(0, 2, 9) * 1.0, rng.standard_normal(4)
    probability = 1 / (1 + np.exp(-inputs @ weights))
    expected = inputs.T @ (inputs * (probability * (1 - probability))[:, None])
    for dtype, tolerance in ((np.float64, 1e-14), (np.float32, 2e-6)):
        x, y = inputs.astype(dtype), labels.astype(dtype)

        def loss(w, x=x, y=y):
            logits = tf.linalg.matvec(x, w["w"])
            return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(y, logits))

        result = hessian(loss, {"w": tf.constant(weights, dtype)}, mode="reverse_over_reverse")
        assert result.dtype == dtype
        np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance)


def test_compiled(network, eager, with_xla, compiles, as_vector):
    loss, parameters = network
    direction = tf.nest.map_structure(tf.cos, parameters)
    compiled = with_xla(lambda x, v: everything(loss, x, v))
    for key, result in compiled(parameters, direction).items():
        np.testing.assert_allclose(as_vector(result), as_vector(eager[key]), rtol=0, atol=1e-13)
    assert not compiles(lambda: compiled(direction, parameters))


@pytest.mark.slow
def test_in_a_graph_converted_by_autograph():
    @tf.function
    def all_of_them(x):
        def cubes(x):
            return tf.reduce_sum(x**3)

        products = [hvp(cubes, x, x, mode) for mode in MODES]
        return products, jvp(cubes, x, x)[1], vjp(cubes, x, 1.0)[1], hessian(cubes, x)

    x = tf.constant([1.0, 2.0])
    products, tangent, gradient, dense = all_of_them(x)
    np.testing.assert_allclose([*products, dense[0], dense[1]], [[6, 24], [6, 24], [6, 0], [0, 12]])
    np.testing.assert_allclose(tangent, 27)
    np.testing.assert_allclose(gradient, [3, 12])


@MODE
def test_leaves_are_told_apart(mode):
    ones = tf.ones_like(A)
    product = hvp(
        lambda x: tf.reduce_sum(x["a"] * x["b"] ** 2 + A * x["b"]),
        {"a": A, "b": A},
        {"a": ones, "b": 0 * ones},
        mode,
    )
    np.testing.assert_array_equal(product["a"], [0, 0])
    np.testing.assert_array_equal(product["b"], 2 * A)
    np.testing.assert_array_equal(hvp(lambda x: tf.reduce_sum(x * A**2 + x**2), A, ones, mode), [2, 2])


@MODE
def test_linear_leaves_have_zero_and_lookups_are_dense(mode):
    np.testing.assert_array_equal(hvp(tf.reduce_sum, A, A, mode), [0, 0])
    np.testing.assert_array_equal(hessian(tf.reduce_sum, A, mode=mode), np.zeros((2, 2)))
    product = hvp(lambda x: tf.reduce_sum(tf.gather(x, [0, 1, 1]) ** 3), A, A, mode)
    np.testing.assert_array_equal(tf.convert_to_tensor(product), [6, 48])
    assert isinstance(product, tf.Tensor)


@MODE
def test_third_derivative_through_hvp(mode):
    _, gradient = value_and_gradient(
        lambda x: tf.reduce_sum(hvp(lambda y: tf.reduce_sum(y**4), x, A, mode)), A
    )
    np.testing.assert_allclose(gradient, 24 * A * A, rtol=1e-14)


@MODE
def test_missing_derivatives_are_explained(mode):
    x = {"a": A, "b": (A,)}
    with pytest.raises(ValueError, match="no gradient reaches b/0"):
        hvp(lambda x: tf.reduce_sum(x["a"] ** 2), x, x, mode)
    for wrap in (lambda f: f, tf.function):
        with pytest.raises(ValueError, match=r"SoftsignGrad has no derivative.*tf\.custom_gradient"):
            hvp(wrap(lambda x: tf.reduce_sum(tf.nn.softsign(x))), A, A, mode)
        with pytest.raises(ValueError, match="SoftsignGrad has no derivative"):
            wrap(lambda x: hvp(lambda x: tf.reduce_sum(tf.nn.softsign(x)), x, x, mode))(A)
    with pytest.raises(KeyError, match="absent"):
        hvp(lambda x: x["absent"], x, x, mode)
    with pytest.raises(ValueError, match=r"a scalar, not the shape \(2,\)"):
        hvp(lambda x: x, A, A, mode)


def test_arguments_that_do_not_fit_are_named():
    x = {"a": A, "b": (A,)}
    for product in (lambda v: hvp(lambda x: tf.reduce_sum(x["a"]), x, v), lambda v: jvp(lambda x: x, x, v)):
        with pytest.raises(ValueError, match=r"v has float32 \(2,\) at b/0, where float64 \(2,\)"):
            product({"a": A, "b": (tf.zeros(2),)})
        with pytest.raises(ValueError, match=r"missing \['b/0'\]"):
            product({"a": A})
    with pytest.raises(ValueError, match=r"cotangent has float64 \(\) at a"):
        vjp(lambda x: x, x, {"a": A[0], "b": (A,)})
    with pytest.raises(ValueError, match="mode must be one of forward_over_reverse, reverse_over_reverse"):
        hvp(tf.reduce_sum, A, A, "reverse")
    with pytest.raises(ValueError, match="b is float32"):
        hessian(lambda x: tf.reduce_sum(x["a"]), {"a": A, "b": tf.zeros(1)})


def test_outputs_that_do_not_depend_on_x():
    value, tangent = jvp(lambda x: (x**2, tf.constant(3.0)), A, A)
    np.testing.assert_array_equal(tangent[0], 2 * A**2)
    assert float(value[1]) == 3
    assert float(tangent[1]) == 0
    with pytest.raises(ValueError, match="no gradient reaches"):
        jvp(lambda x: tf.constant(3.0), A, A)
    _, gradient = vjp(lambda x: (x, x, tf.constant(3.0)), A, (A, 2 * A, tf.constant(1.0)))
    np.testing.assert_array_equal(gradient, 3 * A)
    with pytest.raises(ValueError, match="no gradient reaches b"):
        vjp(lambda x: x["a"], {"a": A, "b": A}, A)


def test_loops_of_a_graph_go_through_the_default_and_not_through_forward_mode():
    def powers(x):
        loop = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * x), (0, x), maximum_iterations=3)
        return tf.reduce_sum(loop[1])

    product = tf.function(lambda x: hvp(powers, x, x), autograph=False)(A)
    np.testing.assert_allclose(product, 12 * A**3, rtol=1e-14)
    network = keras.Sequential([keras.Input((3, 1)), keras.layers.LSTM(1)])
    parameters, inputs = ml.functional.parameters(network), tf.ones((1, 3, 1))

    def output(x):
        return tf.reduce_sum(ml.functional.apply(network, x, inputs))

    for product in (lambda x: hvp(output, x, x, "forward_over_reverse"), lambda x: jvp(output, x, x)):
        with pytest.raises(ValueError, match=r"tf\.while_loop or .*unroll the loop.*use reverse mode"):
            tf.function(product, autograph=False)(parameters)


@pytest.mark.parametrize("jit", [False, True])
def test_branches_of_a_graph_need_reverse_mode(jit):
    def branch(x):
        return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.reduce_sum(x**3), lambda: tf.reduce_sum(x**4))

    compiled = tf.function(lambda x, mode: hvp(branch, x, A, mode), jit_compile=jit, autograph=False)
    np.testing.assert_allclose(compiled(A, MODES[1]), 12 * A**3, rtol=1e-14)
    with pytest.raises(ValueError, match=r"tf\.cond in a graph: unroll.*tf\.where.*use reverse mode"):
        compiled(A, MODES[0])


@pytest.mark.parametrize("kind", [*MODES, "jvp", "vjp", "value_and_gradient"])
def test_failures_of_tensorflow_name_operation_and_remedy(kind):
    """The error names an operation without such a derivative; errors of the function itself are unchanged."""
    take = {
        "jvp": lambda f: jvp(f, A, A),
        "vjp": lambda f: vjp(f, A, tf.constant(1.0, tf.float64)),
        "value_and_gradient": lambda f: value_and_gradient(f, A),
    }.get(kind, lambda f: hvp(f, A, A, kind))
    in_python = lambda x: tf.raw_ops.SoftsignGrad(gradients=x, features=x)  # noqa: E731
    with pytest.raises(ValueError, match=r"the operation SoftsignGrad has no derivative.*custom_gradient"):
        take(lambda x: tf.reduce_sum(in_python(x)))
    recomputed = tf.recompute_grad(lambda x: tf.reduce_sum(x**3))
    if kind in (*MODES, "jvp"):
        with pytest.raises(ValueError, match=r"tf\.recompute_grad has no .* call the function itself"):
            tf.function(lambda: take(recomputed), autograph=False)()
    compiled = tf.function(lambda x: tf.reduce_sum(tf.math.special.bessel_k0(x * x)), jit_compile=True)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=r"BesselK0"):
        take(compiled)
    mistakes = ((KeyError, lambda x: {}[x.dtype]), (TypeError, lambda x: tf.reduce_sum(x, foo=1)))
    for error, mistake in (*mistakes, (AssertionError, refuse), (tf.errors.OpError, lambda x: x @ x)):
        with pytest.raises(error):
            take(mistake)


def refuse(x):
    raise AssertionError


def test_python_inside_has_no_forward_over_reverse():
    """Forward over reverse through a py_function raises one line that recommends reverse mode."""
    inside = lambda x: tf.reduce_sum(tf.py_function(lambda t: t**3, [x], tf.float64))  # noqa: E731
    with pytest.raises(ValueError, match=r"failed to take the derivative \(UnknownError.*use reverse mode"):
        hvp(inside, A, A, "forward_over_reverse")


def test_convolutions_row_by_row():
    rng = np.random.default_rng(0)
    images, filters = tf.constant(rng.standard_normal((2, 3, 3, 1))), rng.standard_normal((2, 2, 1, 1))

    def loss(x):
        return tf.reduce_sum(tf.tanh(tf.nn.conv2d(images, x, 1, "VALID")))

    patches = np.stack([images[:, i : i + 2, j : j + 2, 0] for i in (0, 1) for j in (0, 1)]).reshape(-1, 4)
    before = np.tanh(patches @ filters.ravel())
    expected = patches.T @ (patches * (-2 * before * (1 - before**2))[:, None])
    result = hessian(loss, tf.constant(filters), vectorized=False)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="loop invariant"):
        hessian(loss, tf.constant(filters))
