"""Pruning scores, masks and Optimal Brain Surgeon's update, compared with closed forms of least squares."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

C = ml.compress


@pytest.fixture(scope="module")
def regression():
    """Return inputs, targets, parameters, and the loss ``mean((x W + b - y)^2)`` in two parts."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 4)), rng.standard_normal((9, 2))
    parameters = {"kernel": tf.constant(rng.standard_normal((4, 2))), "bias": tf.constant([0.3, -0.2])}
    parameters = tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.float64), parameters)

    def function(theta):
        return x @ theta["kernel"] + theta["bias"]

    return x, y, parameters, function, lambda outputs: tf.reduce_mean(tf.square(outputs - y))


def vector(theta):
    """Return bias and kernel concatenated, in the order of the flat parameters."""
    return np.concatenate([np.ravel(theta["bias"]), np.ravel(theta["kernel"])])


def quadratic(x, y):
    """Return Hessian and minimiser of the loss over that vector, and its scale."""
    rows = np.kron(np.concatenate([np.ones((len(x), 1)), x], 1), np.eye(2))
    return 2 / y.size * rows.T @ rows, np.linalg.lstsq(rows, y.ravel(), rcond=None)[0]


def test_magnitude_and_snip(regression):
    """Scores equal ``|theta|`` and ``|theta g|`` with g in closed form; biases have no scores."""
    x, y, parameters, function, loss = regression
    kernel = parameters["kernel"].numpy()
    gradient = 2 / y.size * x.T @ (function(parameters).numpy() - y)
    np.testing.assert_array_equal(C.magnitude(parameters)["kernel"], np.abs(kernel))
    scores = C.snip(lambda theta: loss(function(theta)), parameters)
    assert set(scores) == {"kernel"}
    np.testing.assert_allclose(scores["kernel"], np.abs(kernel * gradient), rtol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_grasp(regression, temperature):
    """For a quadratic loss of ``outputs

    T``, the scores equal ``theta (H g)`` in closed form, to 1e-9.
    """
    x, y, parameters, function, loss = regression
    hessian, _ = quadratic(x, y)
    rows = np.kron(np.concatenate([np.ones((len(x), 1)), x], 1), np.eye(2))
    theta = vector(parameters)
    gradient = 2 / y.size * rows.T @ (rows @ theta / temperature - y.ravel()) / temperature
    expected = (theta * (hessian @ gradient))[2:].reshape(4, 2) / temperature**2
    np.testing.assert_allclose(
        C.grasp(function, loss, parameters, temperature)["kernel"], expected, rtol=1e-9
    )


def test_grasp_preserves_the_gradient(regression):
    """Twice the score is the derivative of the squared gradient norm by the scale of an entry, to 1e-6."""
    *_, parameters, function, loss = regression
    scores = C.grasp(function, loss, parameters, 1.0)["kernel"].numpy()

    def squared_norm(kernel):
        _, gradient = ml.derivatives.value_and_gradient(
            lambda theta: loss(function(theta)), {**parameters, "kernel": kernel}
        )
        return sum(float(tf.reduce_sum(leaf**2)) for leaf in gradient.values())

    kernel, small = parameters["kernel"].numpy(), 1e-6
    for index in np.ndindex(*kernel.shape):
        shrunk, grown = kernel.copy(), kernel.copy()
        shrunk[index] *= 1 - small
        grown[index] *= 1 + small
        slope = (squared_norm(grown) - squared_norm(shrunk)) / (2 * small)
        np.testing.assert_allclose(2 * scores[index], slope, rtol=1e-6, atol=1e-8)


def test_damage_is_the_rise_of_a_loss_with_a_diagonal_hessian():
    """For orthogonal inputs at the minimum, removing one entry increases the loss by its score, to 1e-12."""
    x = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 4)))[0]
    kernel = np.random.default_rng(1).standard_normal((4, 1))
    parameters = {"kernel": tf.constant(kernel)}

    def loss(outputs):
        return tf.reduce_mean(tf.square(outputs - x @ kernel))

    scores = C.damage(lambda theta: x @ theta["kernel"], loss, parameters)["kernel"].numpy()
    for q in range(4):
        without = np.where(np.arange(4)[:, None] == q, 0, kernel)
        np.testing.assert_allclose(scores[q, 0], float(loss(x @ without)), rtol=1e-12)


def test_surgeon(regression):
    """Removal at the minimum equals least squares with fixed zeros; scores are increases of the loss."""
    x, y, _, function, loss = regression
    hessian, minimum = quadratic(x, y)
    theta = {"bias": tf.constant(minimum[:2]), "kernel": tf.constant(minimum[2:].reshape(4, 2))}
    found = C.surgeon(function, loss, theta, damping=0.0)
    base = float(loss(function(theta)))
    for q in range(8):
        mask = tf.constant((np.arange(8) != q).astype("float64").reshape(4, 2))
        rise = float(loss(function(found.remove({"kernel": mask})))) - base
        np.testing.assert_allclose(found.scores["kernel"].numpy().ravel()[q], rise, rtol=1e-9)
    masks = C.masks(found.scores, 0.5)
    kept = np.concatenate([[True, True], np.ravel(masks["kernel"]) > 0])
    expected = np.zeros(10)
    expected[kept] = np.linalg.solve(hessian[np.ix_(kept, kept)], (hessian @ minimum)[kept])
    np.testing.assert_allclose(vector(found.remove(masks)), expected, rtol=0, atol=1e-12)
    nothing = found.remove({"kernel": tf.ones([4, 2], tf.float64)})
    np.testing.assert_array_equal(vector(nothing), minimum)


def test_gauss_newton_of_a_network_drops_the_second_term():
    """Scores of a network equal ``theta^2 G

    2`` with the Gauss-Newton matrix of an explicit Jacobian.
    """
    model = ml.models.mlp(2, (3,), 1, activation="tanh", dtype="float64")
    x = np.random.default_rng(0).standard_normal((5, 2))
    theta = ml.functional.initialize(model, 0)
    theta = tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.float64), theta)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        outputs = ml.functional.apply(model, theta, x)
    jacobians = tape.jacobian(outputs, theta)
    scores = C.damage(
        lambda theta: ml.functional.apply(model, theta, x), lambda z: tf.reduce_mean(z**2), theta
    )
    for key, score in scores.items():
        expected = theta[key] ** 2 * tf.reduce_sum(jacobians[key] ** 2, [0, 1]) / 5
        np.testing.assert_allclose(score, expected, rtol=1e-12)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.7, 0.95])
def test_masks_keep_the_highest_over_all_layers(sparsity):
    rng = np.random.default_rng(0)
    scores = {
        "a": tf.constant(rng.standard_normal((5, 4))),
        "b": tf.constant(5 * rng.standard_normal((4, 5))),
    }
    masks = C.masks(scores, sparsity)
    both = np.concatenate([np.ravel(scores[key]) for key in "ab"])
    chosen = np.concatenate([np.ravel(masks[key]) for key in "ab"])
    count = round(40 * (1 - sparsity))
    assert set(np.flatnonzero(chosen)) == set(np.argsort(-both)[:count])
    assert set(chosen) <= {0.0, 1.0}


def test_of_equal_scores_the_number_is_kept():
    masks = C.masks({"a": tf.zeros([3, 3]), "b": tf.zeros([1, 1])}, 0.7)
    assert float(tf.reduce_sum(masks["a"])) == 3.0


def test_masked_parameters():
    parameters = {"kernel": tf.constant([[2.0, 3.0]]), "bias": tf.constant([1.0])}
    found = C.masked(parameters, {"kernel": tf.constant([[0.0, 1.0]])})
    np.testing.assert_array_equal(found["kernel"], [[0.0, 3.0]])
    np.testing.assert_array_equal(found["bias"], [1.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: C.masks({"a": tf.ones([2, 2])}, 1.0), "sparsity must be at least 0 and below 1, got 1.0"),
        (lambda: C.masks({"a": tf.ones([2, 2])}, -0.1), "sparsity must be at least 0 and below 1"),
        (lambda: C.masks({"a": tf.fill([2, 2], np.nan)}, 0.5), "scores of a contain NaN"),
        (lambda: C.masked({}, {"a": tf.ones([2, 2])}), "masks for a, but no such"),
        (lambda: C.magnitude({"bias": tf.ones([2])}), "nothing can be pruned"),
        (lambda: C.surgeon(lambda p: p["a"], tf.reduce_sum, {"a": tf.ones([2, 2])}, -1.0), "damping must be"),
        (lambda: C.grasp(lambda p: p["a"], tf.reduce_sum, {"a": tf.ones([2, 2])}, 0.0), "temperature must"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
