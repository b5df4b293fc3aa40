"""Learners of compression: pretraining, initial meta-parameters, and evaluation."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

C = ml.compress
RATE = 0.5


@pytest.fixture(scope="module")
def data():
    """Return a linear classifier in float64, 12 examples, and one task of them."""
    random = np.random.default_rng(0)
    x, y = random.standard_normal((12, 4)), random.integers(0, 3, 12).astype(np.int32)
    task = ml.tasks.dataset({"support": (x, y), "query": (x[::-1].copy(), y[::-1].copy())}, dtype="float64")
    return ml.models.mlp(4, (), 3, dtype="float64"), (x, y), task


def trained(model, x, y, steps):
    """Return the parameters after gradient steps, by hand."""
    start = ml.functional.initialize(model, 0)
    kernel, bias = start["output/kernel"].numpy(), start["output/bias"].numpy()
    for _ in range(steps):
        logits = x @ kernel + bias
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        errors = (p - np.eye(3)[y]) / len(y)
        kernel, bias = kernel - RATE * x.T @ errors, bias - RATE * errors.sum(0)
    return {"output/kernel": kernel, "output/bias": bias}


def pruned(data, **settings):
    model, examples, _ = data
    return C.pruning(model, examples, 0.75, rule=ml.rules.sgd(RATE), steps=1, pretraining=3, **settings)


def test_evaluation_is_of_masks_of_zeros_and_ones(data):
    """Masks are rounded for the evaluation: the loss is that without 3/4 of the weights, to 1e-12."""
    model, (x, y), task = data
    learner = pruned(data, scores="magnitude")
    theta = trained(model, x, y, 3)
    meta = learner.initialize(0)
    np.testing.assert_allclose(meta["scores"]["output/kernel"], np.abs(theta["output/kernel"]), rtol=1e-12)
    kept = np.abs(theta["output/kernel"]) >= np.sort(np.abs(theta["output/kernel"]), axis=None)[-3]
    assert kept.sum() == 3
    outputs = x @ (theta["output/kernel"] * kept) + theta["output/bias"]
    found = ml.evaluate(learner, meta, task, num_tasks=1, steps=1)
    expected = ml.losses.cross_entropy(y, tf.constant(outputs))
    np.testing.assert_allclose(found.mean[0], expected, rtol=1e-12)
    assert found.mean[1] < found.mean[0]  # which the step trains on


def test_scores_are_the_criteria(data):
    model, (x, y), _ = data
    theta = tf.nest.map_structure(tf.constant, trained(model, x, y, 3))

    def loss(logits):
        return ml.losses.cross_entropy(y, logits)

    def function(theta):
        return ml.functional.apply(model, theta, x)

    for name, expected in (
        ("snip", C.snip(lambda theta: loss(function(theta)), theta)),
        ("grasp", C.grasp(function, loss, theta)),
        ("surgeon", C.surgeon(function, loss, theta).scores),
    ):
        scores = pruned(data, scores=name).initialize(0)["scores"]
        np.testing.assert_allclose(scores["output/kernel"], expected["output/kernel"], rtol=1e-9)
    uniform = pruned(data).initialize(0)["scores"]["output/kernel"]
    np.testing.assert_array_equal(uniform, np.full((4, 3), 2.0))


def test_step_sizes_and_a_teacher(data):
    """Initial step sizes are those of the trained kernel, and soft targets those of the trained teacher."""
    model, (x, y), task = data
    theta = trained(model, x, y, 3)
    settings = {"rule": ml.rules.sgd(RATE), "steps": 1, "pretraining": 3}
    found = C.quantization(model, (x, y), 3, **settings).initialize(0)["log_step"]["output/kernel"]
    expected = np.log(2 * np.abs(theta["output/kernel"]).mean() / np.sqrt(3))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    student = ml.models.mlp(4, (), 3, dtype="float64")
    learner = C.soft_targets(student, model, (x, y), temperature=2.0, weight=0.25, **settings)
    start = ml.functional.initialize(student, 0)
    inner = learner.problem.inner_loss(start, learner.initialize(0), (x, y), ())
    logits = [ml.functional.apply(student, start, x), x @ theta["output/kernel"] + theta["output/bias"]]
    np.testing.assert_allclose(inner, C.soft_target_loss(y, *logits, 2.0, 0.25), rtol=1e-12)
    assert learner.require_fit(task.sample((0, 0), 1)) == ["accuracy"]


def test_what_is_refused(data):
    model, (x, y), _ = data
    sgd = {"rule": "sgd", "steps": 1}
    for make, message in (
        (lambda: C.pruning(model, (x, y), 1.0, **sgd), "sparsity must be at least 0 and below 1, got 1"),
        (lambda: pruned(data, scores="size"), "scores must be one of uniform, magnitude"),
        (lambda: C.pruning(model, (x * np.nan, y), 0.5, **sgd), "data contain NaN"),
        (lambda: C.pruning(model, (x, y + 9), 0.5, **sgd), "classes from 9"),
        (lambda: C.quantization(model, (x, y), 1, **sgd), "bits must be an integer of at least 2"),
        (lambda: C.soft_targets(model, model, (x, y), weight=1.0, **sgd), "weight must be above 0 and below"),
        (lambda: C.soft_targets(model, ml.models.mlp(4, (), 2), (x, y), **sgd), "teacher returns"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    learned = ml.rules.sgd(ml.rules.learned(0.1))
    with pytest.raises(ValueError, match="has learned hyperparameters, which pretraining needs as numbers"):
        C.pruning(model, (x, y), 0.5, rule=learned, steps=1)
