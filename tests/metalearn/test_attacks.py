"""Adversarial examples of linear models against NumPy, and learners of attacked queries."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.attacks.ascent import STREAM
from metalearn.random import fold_in, uniform

RADIUS, BOUNDS = 0.3, (0.0, 1.0)


@pytest.fixture(scope="module")
def linear():
    """Return a linear classifier of 5 numbers into 3 classes, its kernel and bias, and 7 examples."""
    rng = np.random.default_rng(0)
    model = ml.models.mlp(5, (), 3, dtype="float64")
    kernel, bias = rng.standard_normal((5, 3)), rng.standard_normal(3)
    model.set_weights([kernel, bias])
    return model, kernel, bias, rng.uniform(size=(7, 5)), rng.integers(0, 3, 7)


def input_gradient(x, y, kernel, bias):
    """Return the gradient of the mean cross-entropy: ``(softmax(x W + b) - onehot(y)) W' / N``."""
    logits = x @ kernel + bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return p @ kernel.T / len(y)


def test_fgsm(linear):
    """The perturbation is a signed gradient step of the radius, clipped to the bounds, as in NumPy."""
    model, kernel, bias, x, y = linear
    expected = x + RADIUS * np.sign(input_gradient(x, y, kernel, bias))
    np.testing.assert_allclose(ml.attacks.fgsm(RADIUS)(model, x, y), expected, rtol=0, atol=1e-15)
    bounded = ml.attacks.fgsm(RADIUS, bounds=BOUNDS)(model, x, y)
    np.testing.assert_allclose(bounded, np.clip(expected, *BOUNDS), rtol=0, atol=1e-15)


@pytest.mark.parametrize("seed", [None, (1, 2)])
@pytest.mark.parametrize("steps", [3, 9])
def test_pgd(linear, in_graph, steps, seed):
    """Signed steps, projected onto ball and bounds, equal an explicit loop, to 1e-14."""
    model, kernel, bias, x, y = linear
    attack = ml.attacks.pgd(RADIUS, steps, 0.11, seed=seed, bounds=BOUNDS)
    found = in_graph(lambda x, y: attack(model, x, y))(tf.constant(x), tf.constant(y))
    expected = x
    if seed is not None:
        noise = uniform(x.shape, fold_in(seed, STREAM), tf.float64, -1.0, 1.0).numpy()
        expected = np.clip(x + RADIUS * noise, *BOUNDS)
    for _ in range(steps):
        expected = expected + 0.11 * np.sign(input_gradient(expected, y, kernel, bias))
        expected = np.clip(np.clip(expected, x - RADIUS, x + RADIUS), *BOUNDS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_functions_and_learners_are_attacked_as_models_are(linear):
    """A function, a learner and its adapted model have the adversarial examples of the model itself."""
    model, *_, x, y = linear
    attack = ml.attacks.pgd(RADIUS, 3)
    expected = attack(model, x, y)
    parameters = ml.functional.parameters(model)
    by_function = attack(lambda x: ml.functional.apply(model, parameters, x), x, y)
    np.testing.assert_array_equal(by_function, expected)
    learner = ml.MetaLearner(model, "cross_entropy", ml.rules.sgd(1.0), initialize="model")
    meta, support = learner.initialize(0), ml.Batch(x, y)
    np.testing.assert_array_equal(attack(learner, x, y, meta=meta), expected)
    adapted = learner.to_keras(meta, support)
    np.testing.assert_array_equal(attack(learner, x, y, meta=meta, support=support), attack(adapted, x, y))
    with pytest.raises(ValueError, match="meta is required"):
        attack(learner, x, y)


@pytest.mark.parametrize("steps", [0, 6])
def test_attacked_queries_of_a_linear_regression(in_graph, steps):
    """Losses of attacked queries equal the closed form, and so does the meta-gradient, to 1e-12.

    ``max over |delta| <= r of (x w - y + delta w)^2 = (|x w - y| + r |w|_1)^2``; the perturbation is held
    constant in the derivative.
    """
    rng, rate = np.random.default_rng(1), 0.05
    (x, xq), (y, yq), start = rng.standard_normal((2, 6, 4)), rng.standard_normal((2, 6)), np.ones(4)

    def loss(w, batch):
        return tf.reduce_mean(tf.square(tf.linalg.matvec(batch.inputs, w) - batch.targets))

    problem = ml.BilevelProblem(
        start=lambda phi, task: dict(phi),
        inner_loss=lambda theta, phi, batch, model: loss(theta["w"], batch),
        outer_loss=lambda theta, phi, task, model: loss(theta["w"], task.query),
        rule=ml.rules.sgd(rate),
        steps=steps,
    )
    learner = ml.BilevelLearner(problem, start={"w": tf.constant(start)})
    robust = ml.attacks.Robust(learner, ml.attacks.fgsm(RADIUS))
    task = ml.Task(ml.Batch(x[None], y[None]), ml.Batch(xq[None], yq[None]))
    task = tf.nest.map_structure(tf.constant, task)
    robust.require_fit(task)
    result = in_graph(lambda meta, task: ml.problems.learner.meta_gradient(robust, meta, task, (0, 0)))(
        learner.initialize(0), task
    )
    w, through = start, np.eye(4)
    for _ in range(steps):
        w = w - rate * 2 / 6 * x.T @ (x @ w - y)
        through = (np.eye(4) - rate * 2 / 6 * x.T @ x) @ through
    residual = xq @ w - yq
    np.testing.assert_allclose(
        result.loss, [np.mean((np.abs(residual) + RADIUS * np.abs(w).sum()) ** 2)], rtol=1e-12
    )
    worst = xq + RADIUS * np.sign(residual)[:, None] * np.sign(w)
    expected = through.T @ (2 / 6 * worst.T @ (worst @ w - yq))
    np.testing.assert_allclose(result.gradient["w"], expected, rtol=0, atol=1e-12)


def test_adversarial_querying_goes_through_training():
    """A learner with attacked queries can be trained; their loss exceeds the clean one and is random."""
    tasks = ml.tasks.Sinusoid(shots=5, queries=5)
    learner = ml.MetaLearner(
        ml.models.mlp(1, (), 1), "mse", "sgd", 1, estimator=ml.estimators.first_order(), mapping="sequential"
    )
    robust = ml.attacks.Robust(learner, ml.attacks.pgd(0.3, 1, 0.1, seed=(0, 0)))
    optimizer = keras.optimizers.Adam(1e-3)
    trainer = ml.MetaTrainer(robust, tasks, optimizer, meta_batch_size=1, seed=0, jit_compile=False)
    trainer.run(1)
    drawn = tasks.sample((1, 0), 1)
    task = tf.nest.map_structure(lambda leaf: leaf[0], drawn)
    posed = [robust.posed(trainer.meta, drawn, (0, k)) for k in (0, 1)]
    posed.append(learner.posed(trainer.meta, drawn, (0, 0)))
    values = [float(problem.outer_loss(phi["parameters"], phi, task, ())[0]) for problem, phi, _ in posed]
    assert min(values[:2]) > values[2]
    assert values[0] != values[1]


@pytest.mark.parametrize("attack", [None, ml.attacks.fgsm(0.2)])
def test_judges_report_what_attacks_leave(linear, attack):
    """The accuracy at each radius is added to the learner's loss and metrics, which do not change."""
    model, *_, x, y = linear
    learner = ml.MetaLearner(
        model, "cross_entropy", ml.rules.sgd(1.0), 0, metrics=["accuracy"], initialize="model"
    )
    judges = ml.attacks.pgd_at([0, 0.1, RADIUS], steps=3)
    robust = ml.attacks.Robust(learner, attack, judges)
    meta, task = learner.initialize(0), ml.Task(ml.Batch(x[None], y[None]), ml.Batch(x[None], y[None]))
    task = tf.nest.map_structure(tf.constant, task)
    names = ["accuracy", "accuracy@0", "accuracy@0.1", "accuracy@0.3"]
    assert robust.require_fit(task) == names
    found = ml.problems.learner.meta_gradient(robust, meta, task, (0, 0))
    queries = [x if attack is None else attack(model, x, y), *(judge(model, x, y) for judge in judges)]
    expected = [ml.metrics.accuracy(y, model(each)) for each in queries]
    np.testing.assert_array_equal([found.metrics[name][0] for name in names], expected)
    assert expected[-1] < expected[1]
    np.testing.assert_allclose(found.loss, [ml.losses.cross_entropy(y, model(queries[0]))], rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ml.attacks.fgsm(-0.1), "radius must be at least 0, got -0.1"),
        (lambda: ml.attacks.pgd(float("nan")), "radius must be a finite number"),
        (lambda: ml.attacks.pgd(0.1, steps=0), "steps must be an integer of at least 1"),
        (lambda: ml.attacks.pgd(0.1, step_size=0.0), "step_size must be a finite number above 0"),
        (lambda: ml.attacks.pgd(0.1, bounds=(1, 0)), "bounds is the wrong way round"),
        (lambda: ml.attacks.pgd_at([0.1, -1]), "radius must be at least 0, got -1"),
        (lambda: ml.attacks.Robust(None, judges=ml.attacks.pgd_at([1, 1])), "are equal"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_data_that_cannot_be_attacked_is_refused(linear):
    model, *_, x, y = linear
    with pytest.raises(ValueError, match=r"classes from 0 to 3"):
        ml.attacks.fgsm(0.1)(model, x, np.where(y == 2, 3, y))
    with pytest.raises(ValueError, match=r"outside the bounds"):
        ml.attacks.fgsm(0.1, bounds=(0, 0.5))(model, x, y)
    with pytest.raises(ValueError, match="cast them to floats"):
        ml.attacks.fgsm(0.1)(model, np.ones((7, 5), int), y)


@pytest.mark.slow
def test_adversarial_training_on_digits():
    """With PGD-20 at radius 0.15, accuracy rises from below 0.05 to at least 0.6; clean it exceeds 0.9."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = (digits.data[order] / 16).astype("float32"), digits.target[order].astype("int32")
    tasks = ml.tasks.dataset((x[:1200], y[:1200]), batch=100)
    model = ml.models.mlp(64, (64,), 10)
    learner = ml.MetaLearner(model, "cross_entropy", "sgd", steps=0)
    robust = ml.attacks.Robust(learner, ml.attacks.pgd(0.15, 7))

    def accuracies(trained):
        trainer = ml.MetaTrainer(trained, tasks, keras.optimizers.Adam(1e-3), meta_batch_size=1, seed=0)
        trainer.run(3000)
        fitted = learner.to_keras(trainer.meta)
        attacked = ml.attacks.pgd(0.15, 20)(fitted, x[1200:], y[1200:])
        return [float(ml.metrics.accuracy(y[1200:], fitted(given))) for given in (x[1200:], attacked)]

    plain, hardened = accuracies(learner), accuracies(robust)
    assert plain[0] > 0.95
    assert plain[1] < 0.05
    assert hardened[0] > 0.9
    assert hardened[1] >= 0.6
