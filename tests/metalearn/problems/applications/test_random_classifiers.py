"""Trainings of random networks: losses and gradients compared with NumPy, carried loops, and errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

FEATURES, CLASSES, EXAMPLES, BATCH, TASKS, RATE = 4, 3, 10, 4, 3, 0.4


def examples(seed, count=EXAMPLES):
    """Return inputs ``[T, N, D]`` and classes."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(TASKS, count, FEATURES)).astype(np.float32)
    return ml.Batch(tf.constant(inputs), tf.constant(random.integers(0, CLASSES, (TASKS, count)), tf.int32))


def learner(steps=2, rule=None, **settings):
    settings = {"widths": [2, 5], "batch": BATCH, **settings}
    rule = rule or ml.rules.sgd(ml.rules.learned(RATE))
    return ml.problems.random_classifiers(FEATURES, CLASSES, rule, steps, **settings)


def cross_entropy(theta, width, inputs, targets):
    """Return the loss of a network that has ``width`` units and no others, the outputs, and the gradient."""
    kernel, bias = theta["hidden/kernel"][:, :width], theta["hidden/bias"][:width]
    hidden = np.maximum(inputs @ kernel + bias, 0)
    logits = hidden @ theta["output/kernel"][:width] + theta["output/bias"]
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    errors = (chances - np.eye(CLASSES)[targets]) / len(targets)
    back = (errors @ theta["output/kernel"][:width].T) * (hidden > 0)
    gradient = {key: np.zeros_like(leaf) for key, leaf in theta.items()}
    gradient["output/kernel"][:width], gradient["output/bias"] = hidden.T @ errors, errors.sum(0)
    gradient["hidden/kernel"][:, :width], gradient["hidden/bias"][:width] = inputs.T @ back, back.sum(0)
    return -np.log(chances[np.arange(len(targets)), targets]).mean(), logits, gradient


def trained(drawn, task, rate, steps, support, query, next_batch):
    """Return the outer loss and accuracy of one task by plain loops in float64."""
    width = int(drawn["width"][task])
    theta = {key: np.float64(leaf[task]) for key, leaf in drawn["parameters"].items()}
    (x, y), (asked, answers) = (
        (np.float64(part[0][task]), part[1][task].numpy()) for part in (support, query)
    )
    losses = []
    for step in range(steps + 1):
        rows = (step * BATCH + np.arange(BATCH)) % len(y)
        judged = (x[rows], y[rows]) if next_batch else (asked, answers)
        losses.append(cross_entropy(theta, width, *judged)[0])
        if step < steps:
            gradient = cross_entropy(theta, width, x[rows], y[rows])[2]
            theta = {key: leaf - rate * gradient[key] for key, leaf in theta.items()}
    outputs = cross_entropy(theta, width, asked, answers)[1]
    return losses, np.mean(outputs.argmax(1) == answers)


@pytest.mark.parametrize(
    ("has_support", "next_batch", "averaged"),
    [(True, True, False), pytest.param(False, False, True, marks=pytest.mark.slow)],
)
def test_the_gradient_is_numpys(has_support, next_batch, averaged):
    """Losses and the derivative by the rate equal those of independent loops over tasks, to 1e-7."""
    support, query = examples(0), examples(1, 7)
    tasks = ml.Task(support if has_support else (), query)
    made = learner(next_batch=next_batch, averaged=averaged)
    rate = tf.constant(RATE, tf.float64)
    found = made.meta_gradient({"rule": {"learning_rate": rate}}, tasks, (3, 4))
    drawn = made.posed({}, tasks, (3, 4)).tasks.support.noise
    assert len(set(drawn["width"].numpy())) > 1

    def outer(rate):
        both = [
            trained(drawn, task, rate, 2, support if has_support else query, query, next_batch)
            for task in range(TASKS)
        ]
        losses = [np.mean(each[1:]) if averaged else each[-1] for each, _ in both]
        return np.array(losses), [accuracy for _, accuracy in both]

    losses, accuracies = outer(RATE)
    np.testing.assert_allclose(found.loss, losses, rtol=1e-10)
    np.testing.assert_allclose(found.metrics["accuracy"], accuracies)
    expected = np.mean(outer(RATE + 1e-6)[0] - outer(RATE - 1e-6)[0]) / 2e-6
    np.testing.assert_allclose(found.gradient["rule"]["learning_rate"], expected, rtol=1e-7)


def test_networks_differ_by_seed_and_fill_the_widths():
    made = learner()
    one, other = made.noise((0, 0), 200), made.noise((0, 1), 200)
    assert set(one["width"].numpy()) == {2, 3, 4, 5}
    assert not np.array_equal(one["width"], other["width"])
    kernels = one["parameters"]["hidden/kernel"].numpy()
    np.testing.assert_allclose(kernels.std(), (2 / FEATURES) ** 0.5, rtol=0.05)
    outputs = one["parameters"]["output/kernel"].numpy()
    for width in (2, 5):
        np.testing.assert_allclose(outputs[one["width"] == width].std(), width**-0.5, rtol=0.15)


def online():
    """Return a trainer of the rate and the discounts of Adam, while it trains one network."""
    learned = ml.rules.learned
    rule = ml.rules.adam(
        learned(0.01, positive=True), learned(0.9, within=(0, 1)), learned(0.99, within=(0, 1))
    )
    made = learner(2, rule, next_batch=True)
    one = tf.nest.map_structure(lambda leaf: leaf[0].numpy(), ml.Task(examples(0, 12), examples(1)))
    options = {"carry": "forever", "jit_compile": False, "check_derivatives": False}
    return ml.MetaTrainer(made, ml.tasks.dataset(one), keras.optimizers.Adam(0.1), 1, **options)


@pytest.mark.slow
def test_a_rule_is_learned_online_and_goes_on_with_equal_bits():
    """Rates and discounts are learned online; after a restore, four iterations have the same bits."""
    whole, second = online(), online()
    begun = whole.meta["rule"]
    whole.run(3)
    second.restore(whole.state())
    history, rest = whole.run(4), second.run(4)
    assert whole.state().keys() == second.state().keys()
    for name, value in whole.state().items():
        np.testing.assert_array_equal(second.state()[name], value, err_msg=name)
    for name, values in history.items():
        np.testing.assert_array_equal(rest[name], values, err_msg=name)
    np.testing.assert_array_equal(whole.state()["carried/inner/model/step"], [14])
    for name, leaf in whole.meta["rule"].items():
        assert abs(float(leaf - begun[name])) > 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": [5, 2]}, "widths must be two integers, the smaller first"),
        ({"widths": [0, 2]}, "each of widths must be an integer of at least 1"),
        ({"batch": 0}, "batch must be an integer"),
        ({"rule": ml.rules.sgd(0.1)}, "start has no tensors, so there is nothing to learn"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        learner(**settings)


def test_tasks_that_do_not_fit_are_refused():
    inputs, targets = examples(0)
    with pytest.raises(ValueError, match="but features=4: give"):
        learner().require_fit(ml.Task((), ml.Batch(inputs[..., :2], targets)))
    with pytest.raises(ValueError, match="classes from"):
        learner().require_fit(ml.Task((), ml.Batch(inputs, targets + 1)))
