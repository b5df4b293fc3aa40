"""Learned masks, step sizes and distillation temperatures, compared with NumPy and differences."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

C = ml.compress
RATE = 0.1


@pytest.fixture(scope="module")
def linear():
    """Return a linear model without hidden layers in float64, its parameters, and a task of 6 examples."""
    rng = np.random.default_rng(0)
    model = ml.models.mlp(4, (), 3, dtype="float64")
    parameters = {
        key: tf.constant(rng.standard_normal(value.shape))
        for key, value in ml.functional.parameters(model).items()
    }
    parts = [
        ml.Batch(tf.constant(rng.standard_normal((1, 6, 4))), tf.constant(rng.integers(0, 3, (1, 6))))
        for _ in range(2)
    ]
    return model, parameters, ml.Task(*parts)


def softmax(z):
    """Return the softmax over the last axis."""
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def entropy(p, z):
    """Return the mean cross-entropy of logits with soft targets."""
    return -np.mean(np.sum(p * np.log(softmax(z)), 1))


def trained(model, parameters, examples, kernel_view, targets_gradient, steps):
    """Return kernel and bias after gradient steps, given the gradient with respect to the outputs."""
    keys = sorted(parameters, key=lambda key: -parameters[key].shape.rank)
    kernel, bias = (parameters[key].numpy() for key in keys)
    x = examples.inputs[0].numpy()
    for _ in range(steps):
        seen, slope = kernel_view(kernel)
        by_outputs = targets_gradient(x @ seen + bias)
        kernel, bias = kernel - RATE * slope * (x.T @ by_outputs), bias - RATE * by_outputs.sum(0)
    return kernel, bias


def hard(examples):
    """Return the gradient of the mean cross-entropy with labels with respect to the logits."""
    y = examples.targets[0].numpy()
    return lambda z: (softmax(z) - np.eye(3)[y]) / len(y)


def meta_gradient(problem, phi, task):
    """Return the meta-gradient of one task."""
    single = dataclasses.replace(problem, mapping="sequential")
    return ml.estimators.checkpointed()(single, phi, task)[0]


def against_differences(problem, phi, task, loss, in_graph, small=1e-6):
    """Compare loss and meta-gradient of a problem with a NumPy loss and its central differences: to 1e-7."""
    result = in_graph(lambda phi: meta_gradient(problem, phi, task))(phi)
    leaves = [np.array(leaf, float) for leaf in tf.nest.flatten(phi)]

    def at(leaf, index, change):
        moved = [values.copy() for values in leaves]
        moved[leaf][index] += change
        return loss(tf.nest.pack_sequence_as(phi, moved))

    np.testing.assert_allclose(result.loss[0], loss(tf.nest.pack_sequence_as(phi, leaves)), rtol=1e-12)
    for number, gradient in enumerate(tf.nest.flatten(result.gradient)):
        for index in np.ndindex(*gradient.shape):
            slope = (at(number, index, small) - at(number, index, -small)) / (2 * small)
            np.testing.assert_allclose(gradient.numpy()[index], slope, rtol=1e-6, atol=1e-8)


def test_masks_learned_through_training(linear, in_graph):
    """The loss after two steps of a masked linear classifier, with the budget's penalty, equals NumPy's."""
    model, parameters, task = linear
    problem = C.mask_problem(model, parameters, sparsity=0.9, rule=ml.rules.sgd(RATE), steps=2, strength=0.7)
    (key,) = C.prunable(parameters)
    scores = {"scores": {key: tf.constant(np.random.default_rng(1).standard_normal((4, 3)))}}

    def loss(phi):
        mask = 1 / (1 + np.exp(-phi["scores"][key]))
        kernel, bias = trained(
            model, parameters, task.support, lambda w: (mask * w, mask), hard(task.support), 2
        )
        z = task.query.inputs[0].numpy() @ (mask * kernel) + bias
        return entropy(np.eye(3)[task.query.targets[0].numpy()], z) + 0.7 * max(mask.mean() - 0.1, 0)

    against_differences(problem, scores, task, loss, in_graph)


def test_a_mask_within_the_budget_costs_nothing(linear):
    """If the masks are within the budget, the penalty is exactly 0, whatever its strength."""
    model, parameters, task = linear
    settings = {"sparsity": 0.1, "rule": "sgd", "steps": 0}
    (key,) = C.prunable(parameters)
    phi = {"scores": {key: tf.zeros([4, 3], tf.float64)}}
    task = tf.nest.map_structure(lambda leaf: leaf[0], task)
    values = []
    for strength in (0.0, 5.0):
        problem = C.mask_problem(model, parameters, **settings, strength=strength)
        value, reported = problem.outer_loss(parameters, phi, task, ())
        assert set(reported) == {"accuracy"}
        values.append(float(value))
    assert values[0] == values[1]


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_quantisation(bits):
    """Quantised values and both straight-through derivatives equal the formulas of the paper, to 1e-12."""
    rng = np.random.default_rng(0)
    values, step, weights = 3 * rng.standard_normal(50), 0.37, rng.standard_normal(50)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    scaled = values / step
    found, (by_values, by_step) = ml.derivatives.value_and_gradient(
        lambda v, s: tf.reduce_sum(weights * C.quantize(v, s, bits)),
        tf.constant(values),
        tf.constant(step, tf.float64),
    )
    rounded = np.round(np.clip(scaled, low, high))
    np.testing.assert_allclose(found, np.sum(weights * step * rounded), rtol=1e-13)
    inside = (scaled >= low) & (scaled <= high)
    np.testing.assert_allclose(by_values, weights * inside, rtol=1e-13)
    slope = np.where(inside, np.round(scaled) - scaled, np.where(scaled < low, low, high))
    np.testing.assert_allclose(by_step, np.sum(weights * slope), rtol=1e-12)
    first = C.first_step_sizes({"kernel": tf.constant(values.reshape(5, 10)), "bias": tf.ones([2])}, bits)
    np.testing.assert_allclose(first["kernel"], 2 * np.abs(values).mean() / np.sqrt(high), rtol=1e-13)
    assert set(first) == {"kernel"}


def test_step_sizes_learned_through_training(linear, in_graph):
    """The meta-gradient through one step of a quantised classifier equals the chain rule in NumPy."""
    model, parameters, task = linear
    (key,) = C.prunable(parameters)
    (other,) = set(parameters) - {key}
    log_step = np.log(0.4)
    problem = C.quantization_problem(model, parameters, bits=3, rule=ml.rules.sgd(RATE), steps=1)
    phi = {"log_step": {key: tf.constant(log_step)}}
    phi = tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.float64), phi)
    result = in_graph(lambda phi: meta_gradient(problem, phi, task))(phi)
    x, xq = (part.inputs[0].numpy() for part in task[:2])
    y, yq = (np.eye(3)[part.targets[0].numpy()] for part in task[:2])
    kernel, bias, step = parameters[key].numpy(), parameters[other].numpy(), np.exp(log_step)

    def quantised(w):
        scaled = w / step
        inside = (scaled >= -4) & (scaled <= 3)
        slope = np.where(inside, np.round(scaled) - scaled, np.clip(scaled, -4, 3))
        return step * np.round(np.clip(scaled, -4, 3)), inside, slope

    q, inside, slope = quantised(kernel)
    p = softmax(x @ q + bias)
    by_z = (p - y) / 6
    kernel_1, bias_1 = kernel - RATE * inside * (x.T @ by_z), bias - RATE * by_z.sum(0)
    dz = x @ slope
    dby_z = (p * dz - p * np.sum(p * dz, 1, keepdims=True)) / 6
    dkernel, dbias = -RATE * inside * (x.T @ dby_z), -RATE * dby_z.sum(0)
    q_1, inside_1, slope_1 = quantised(kernel_1)
    z = xq @ q_1 + bias_1
    np.testing.assert_allclose(result.loss[0], entropy(yq, z), rtol=1e-12)
    by_zq = (softmax(z) - yq) / 6
    expected = step * (np.sum(by_zq * (xq @ (inside_1 * dkernel + slope_1))) + np.sum(by_zq * dbias))
    np.testing.assert_allclose(result.gradient["log_step"][key], expected, rtol=0, atol=1e-12)


def test_a_temperature_learned_through_training(linear, in_graph):
    """The loss after two steps of a linear student on soft and hard targets equals NumPy's."""
    model, parameters, task = linear
    matrix = np.random.default_rng(2).standard_normal((4, 3))
    problem = C.soft_target_problem(model, parameters, lambda x: x @ matrix, rule=ml.rules.sgd(RATE), steps=2)
    phi = {"log_temperature": tf.constant(0.4, tf.float64), "weight": tf.constant(-0.3, tf.float64)}

    def loss(phi):
        temperature, weight = np.exp(phi["log_temperature"]), 1 / (1 + np.exp(-phi["weight"]))
        soft = softmax(task.support.inputs[0].numpy() @ matrix / temperature)

        def by_outputs(z):
            towards_teacher = temperature * (softmax(z / temperature) - soft) / 6
            return weight * towards_teacher + (1 - weight) * hard(task.support)(z)

        kernel, bias = trained(model, parameters, task.support, lambda w: (w, 1.0), by_outputs, 2)
        z = task.query.inputs[0].numpy() @ kernel + bias
        return entropy(np.eye(3)[task.query.targets[0].numpy()], z)

    against_differences(problem, phi, task, loss, in_graph)


def test_soft_target_loss():
    """The loss equals ``w T^2 H(p_T, q_T) + (1 - w) H(y, q)`` in NumPy, to 1e-13."""
    rng = np.random.default_rng(0)
    z, teacher, y = rng.standard_normal((5, 3)), rng.standard_normal((5, 3)), rng.integers(0, 3, 5)
    found = C.soft_target_loss(y, tf.constant(z), tf.constant(teacher), 4.0, 0.3)
    expected = 0.3 * 16 * entropy(softmax(teacher / 4), z / 4) + 0.7 * entropy(np.eye(3)[y], z)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (C.mask_problem, {"sparsity": 1}, "sparsity must be at least 0 and below 1, got 1"),
        (C.mask_problem, {"sparsity": 0.5, "strength": -1.0}, "strength must be at least 0"),
        (C.quantization_problem, {"bits": 1}, "bits must be an integer of at least 2"),
        (C.quantization_problem, {"bits": 3, "steps": -1}, "steps must be an integer of at least 0"),
    ],
)
def test_what_cannot_be_is_refused(linear, make, settings, message):
    model, parameters, _ = linear
    with pytest.raises(ValueError, match=message):
        make(model, parameters, **{"rule": "sgd", "steps": 1, **settings})
    with pytest.raises(ValueError, match="but the model has"):
        C.quantization_problem(model, {}, bits=2, rule="sgd", steps=1)


def test_labels_out_of_range_are_refused_before_training(linear):
    """Class labels out of range are an error before training, because in a graph the loss would be NaN."""
    model, parameters, task = linear
    problem = C.mask_problem(model, parameters, sparsity=0.5, rule="sgd", steps=1)
    phi = {"scores": tf.nest.map_structure(tf.zeros_like, C.prunable(parameters))}
    wrong = task._replace(query=ml.Batch(task.query.inputs, task.query.targets + 1))
    with pytest.raises(ValueError, match="classes from 1 to 3, and the outputs have 3 logits"):
        ml.BilevelLearner(problem, start=phi).require_fit(wrong)
    assert ml.BilevelLearner(problem, start=phi).require_fit(task) == ["accuracy"]
