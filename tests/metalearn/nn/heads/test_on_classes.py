"""Heads for classification: each compared with NumPy, its meta-gradient with differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize

import metalearn as ml
from tests.often import mostly_slow

WAYS, TASKS, EPSILON, MOMENTUM = 3, 2, 1e-3, 0.8


def extended(features):
    return np.concatenate([features, np.ones((len(features), 1))], 1)


def means_by_numpy(features, labels):
    kernel, bias = np.zeros((features.shape[1], WAYS)), np.zeros(WAYS)
    for way in range(WAYS):
        mean = sum(features[n] for n in range(len(labels)) if labels[n] == way) / np.sum(labels == way)
        kernel[:, way], bias[way] = 1.5 * 2 * mean, -1.5 * mean @ mean
    return kernel, bias


def ridge_by_numpy(features, labels):
    inputs = extended(features)
    gram = inputs.T @ inputs + 0.3 * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, inputs.T @ np.eye(WAYS)[labels])
    return 4 * weights[:-1], 4 * weights[-1]


def logistic_by_numpy(features, labels):
    """Newton's method on the weights of each class."""
    inputs = extended(features)
    weights = np.zeros((inputs.shape[1], WAYS))
    for way in range(WAYS):
        for _ in range(4):
            mu = 1 / (1 + np.exp(-inputs @ weights[:, way]))
            slope = inputs.T @ (mu - (labels == way)) + 0.3 * weights[:, way]
            curvature = inputs.T @ np.diag(mu * (1 - mu)) @ inputs + 0.3 * np.eye(inputs.shape[1])
            weights[:, way] -= np.linalg.solve(curvature, slope)
    return 2 * weights[:-1], 2 * weights[-1]


def svm_by_scipy(features, labels):
    """The dual of Lee et al. (2019), equation 8, as a quadratic program with bounds and equalities."""
    one_hot, shape = np.eye(WAYS)[labels], (len(labels), WAYS)
    solved = minimize(
        lambda a: np.sum((features.T @ a.reshape(shape)) ** 2) / 2 - np.sum(a.reshape(shape) * one_hot),
        np.zeros(one_hot.size),
        jac=lambda a: (features @ features.T @ a.reshape(shape) - one_hot).ravel(),
        method="SLSQP",
        bounds=[(None, 0.5 * each) for each in one_hot.ravel()],
        constraints={"type": "eq", "fun": lambda a: a.reshape(shape).sum(1)},
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    return 2 * features.T @ solved.x.reshape(shape), np.zeros(WAYS)


def rows_by_numpy(features, labels):
    """The fitted tensors: rows of length 2, and the one-hot classes."""
    return np.stack([2 * row / np.sqrt(row @ row) for row in features]), np.eye(WAYS)[labels]


def attention_by_numpy(queries, features, labels, scale):
    """Vinyals et al. (2016), equation 1, in loops: a probability of each class."""
    answers = np.zeros((len(queries), WAYS))
    for query, answer in zip(queries, answers, strict=True):
        cosines = [query @ row / np.linalg.norm(query) / np.linalg.norm(row) for row in features]
        weights = np.exp(scale * np.array(cosines))
        for weight, label in zip(weights / weights.sum(), labels, strict=True):
            answer[label] += weight
    return answers


HEADS = {
    "prototypes": (ml.heads.prototypes(1.5), means_by_numpy, {"log_scale"}),
    "ridge": (ml.heads.ridge(0.3, scale=4.0), ridge_by_numpy, {"log_strength", "log_scale", "shift"}),
    "logistic": (
        ml.heads.logistic(0.3, steps=4, scale=2.0),
        logistic_by_numpy,
        {"log_strength", "log_scale"},
    ),
    "matching": (ml.heads.matching(2.0), rows_by_numpy, {"log_scale"}),
    "svm": (ml.heads.svm(0.5, scale=2.0), svm_by_scipy, {"log_scale"}),
}

DIGITS = {"svm": 1e-6}
"""What is solved to fewer digits than others."""


def made(statistics="batch", **settings):
    """Return a learner of classes by prototypes, with batch normalisation before them."""
    double = {"dtype": "float64"}
    layers = [
        keras.layers.Dense(4, "tanh", name="hidden", **double),
        ml.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name="norm", **double),
        ml.layers.Dense(WAYS, name="output", **double),
    ]
    settings = {"steps": 0, "adapted": "head", "head": ml.heads.prototypes(1.5), **settings}
    return ml.MetaLearner(
        keras.Sequential([keras.Input((2,), **double), *layers]),
        ml.losses.cross_entropy,
        ml.rules.sgd(0.1),
        statistics=statistics,
        **settings,
    )


@pytest.fixture(scope="module")
def learner():
    return made()


LABELS = np.array([0, 2, 1, 2, 2, 0])

EXAMPLES = np.random.default_rng(1).normal(size=(len(LABELS), 4))


@pytest.fixture(scope="module")
def tasks():
    """Return tasks whose supports have 1 to 3 examples of a class."""
    random = np.random.default_rng(0)

    def batch(labels):
        inputs = random.normal(size=(TASKS, len(labels), 2)) + 0.5 * np.asarray(labels)[None, :, None]
        return ml.Batch(tf.constant(inputs), tf.constant([labels] * TASKS))

    return ml.Task(batch(list(LABELS)), batch([0, 1, 2, 0, 1, 2]))


def features(meta, inputs):
    """Return features of a support, and the mean and variance that normalise them."""
    hidden = np.tanh(inputs @ meta["parameters"]["hidden/kernel"] + meta["parameters"]["hidden/bias"])
    mean, variance = hidden.mean(0), hidden.var(0)
    return (hidden - mean) / np.sqrt(variance + EPSILON), mean, variance


@pytest.mark.parametrize("name", HEADS)
def test_it_is_what_numpy_computes(name):
    """Fitted tensors equal NumPy's to 1e-10, those of the support vector machine to 1e-6."""
    head, by_numpy, learned = HEADS[name]
    assert set(head.hyperparameters) == learned
    found = head.fit(tf.constant(EXAMPLES), tf.one_hot(LABELS, WAYS, dtype="float64"), head.hyperparameters)
    for ours, right in zip(found, by_numpy(EXAMPLES, LABELS), strict=True):
        np.testing.assert_allclose(ours, right, rtol=0, atol=DIGITS.get(name, 1e-10))


@pytest.mark.parametrize("name", mostly_slow(HEADS, "prototypes", "matching", "svm"))
def test_derivatives_are_those_of_differences(name):
    """Derivatives by features and hyperparameters equal differences to 1e-7 (1e-6 for some heads)."""
    head, _, learned = HEADS[name]
    targets, queries = tf.one_hot(LABELS, WAYS, dtype="float64"), tf.constant(EXAMPLES[::-1] / 2)

    def loss(given):
        solved = head.fit(given["features"], targets, given["learned"])
        return tf.reduce_sum(tf.sin(head.answer(queries, solved)))

    given = {"features": tf.constant(EXAMPLES), "learned": head.hyperparameters}
    _, gradient = ml.derivatives.value_and_gradient(loss, given)
    report = ml.derivatives.check_gradients(loss, given, gradient, directions=4)
    assert report.passed(DIGITS.get(name, 1e-7)), report.worst
    assert all(abs(gradient["learned"][name]) > 1e-3 for name in learned)


def test_a_learner_fits_features_that_are_normalised_with_the_support(learner, tasks):
    """Prototypes and answers equal NumPy's for features normalised with batch statistics, to 1e-12.

    Support and queries are normalised separately, and answers are squared distances.
    """
    meta = learner.initialize(0)
    fitted = learner.adapt(meta, tasks.support)
    answers = learner.predict(fitted, tasks.query.inputs)
    for task in range(TASKS):
        support, _, _ = features(meta, tasks.support.inputs[task].numpy())
        kernel, bias = means_by_numpy(support, LABELS)
        np.testing.assert_allclose(fitted.parameters["output/kernel"][task], kernel, rtol=0, atol=1e-12)
        np.testing.assert_allclose(fitted.parameters["output/bias"][task], bias, rtol=0, atol=1e-12)
        query, _, _ = features(meta, tasks.query.inputs[task].numpy())
        means = np.stack([support[way == LABELS].mean(0) for way in range(WAYS)])
        minus = -1.5 * np.sum((query[:, None] - means[None]) ** 2, -1)
        expected = np.exp(minus) / np.exp(minus).sum(1, keepdims=True)
        np.testing.assert_allclose(tf.nn.softmax(answers[task]), expected, rtol=0, atol=1e-12)


def test_its_meta_gradient_is_that_of_differences(learner, tasks, in_graph):
    """The meta-gradient equals differences in float64, also for layers before the normalisation."""
    hold_to_differences(learner, tasks, in_graph)


@pytest.mark.slow
def test_inner_steps_go_on_from_prototypes(tasks, in_graph):
    """In Proto-MAML, steps start from prototypes and reduce the loss; the meta-gradient is exact."""
    learner = made(steps=2, adapted="all")
    assert np.all(np.diff(learner.adapt(learner.initialize(0), tasks.support).support_loss) < 0)
    hold_to_differences(learner, tasks, in_graph)


def test_attention_is_that_of_a_loop(tasks):
    """Answers equal the attention over the support of Vinyals et al. (2016), equation 1, to 1e-12."""
    learner = made(head=ml.heads.matching())
    meta = learner.initialize(0)
    answers = learner.predict(learner.adapt(meta, tasks.support), tasks.query.inputs)
    for task in range(TASKS):
        support, query = (features(meta, part.inputs[task].numpy())[0] for part in tasks[:2])
        expected = attention_by_numpy(query, support, LABELS, 1.0)
        np.testing.assert_allclose(tf.nn.softmax(answers[task]), expected, rtol=0, atol=1e-12)


def test_inner_steps_move_what_is_attended_to(tasks):
    """Inner steps change the rows that are attended to, but not their classes."""
    learner = made(head=ml.heads.matching(2.0))
    meta = learner.initialize(0)
    before, after = (learner.adapt(meta, tasks.support, steps) for steps in (0, 1))
    assert np.all(np.diff(after.support_loss) < 0)
    assert np.any(after.parameters["output/kernel"] != before.parameters["output/kernel"])
    np.testing.assert_array_equal(after.parameters["output/bias"], before.parameters["output/bias"])


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["batch", "support", "moving", "per_step"])
def test_the_meta_gradient_goes_through_such_a_step(tasks, in_graph, statistics):
    hold_to_differences(made(statistics, steps=1, head=ml.heads.matching(2.0)), tasks, in_graph)


def test_attention_is_no_keras_layer(tasks):
    learner = made(head=ml.heads.matching())
    with pytest.raises(ValueError, match=r"matching\(scale=None\) uses the examples.*learner.predict"):
        learner.to_keras(learner.initialize(0), tf.nest.map_structure(lambda x: x[0], tasks.support))


def hold_to_differences(learner, tasks, in_graph):
    phi, state = learner.parts(learner.initialize(0))
    gradient = in_graph(learner.meta_gradient)(learner.whole(phi, state), tasks).gradient
    loss = in_graph(lambda phi: tf.reduce_mean(learner.meta_gradient(learner.whole(phi, state), tasks).loss))
    report = ml.derivatives.check_gradients(loss, phi, gradient, directions=2)
    assert report.passed(1e-6), report.worst


def test_solving_moves_moving_statistics(tasks):
    """Solving updates the moving statistics as a training call on the support does."""
    learner = made("moving")
    meta = learner.initialize(0)
    found = learner.adapt(meta, tasks.support).model.statistics
    for task in range(TASKS):
        _, mean, variance = features(meta, tasks.support.inputs[task].numpy())
        np.testing.assert_allclose(found["norm/moving_mean"][task], (1 - MOMENTUM) * mean, atol=1e-12)
        np.testing.assert_allclose(
            found["norm/moving_variance"][task], MOMENTUM + (1 - MOMENTUM) * variance, atol=1e-12
        )


def test_one_hot_targets_are_classes(learner, tasks):
    meta = learner.initialize(0)
    one_hot = tasks.support._replace(targets=tf.one_hot(tasks.support.targets, WAYS))
    for key, value in learner.adapt(meta, tasks.support).parameters.items():
        np.testing.assert_array_equal(learner.adapt(meta, one_hot).parameters[key], value)


def test_numbers_are_refused_by_heads_for_classes(sinusoids):
    learner = ml.MetaLearner(
        ml.models.mlp(dtype="float64"), "mse", "sgd", steps=0, adapted="head", head=ml.heads.prototypes()
    )
    with pytest.raises(ValueError, match=r"the head prototypes\(scale=None\): .* at least two classes"):
        learner.adapt(learner.initialize(0), sinusoids.support)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ml.heads.prototypes(0.0), "scale"),
        (lambda: ml.heads.matching(0.0), "scale"),
        (lambda: ml.heads.ridge(scale=-1.0), "scale"),
        (lambda: ml.heads.logistic(0.0), "strength"),
        (lambda: ml.heads.logistic(steps=0), "steps"),
        (lambda: ml.heads.svm(-0.1), "bound"),
    ],
)
def test_settings_out_of_range_are_refused(make, named):
    with pytest.raises(ValueError, match=f"^{named} must be"):
        make()
