"""Lists, dicts and masks in the examples, and several outputs: trained and evaluated, against NumPy.

The model is linear, so that an inner step of gradient descent is a line of NumPy, and the gradient of the
meta-loss with respect to theta_0 is that of the query loss times ``I - rate H``.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from tests.often import mostly_slow

RATE, OUTER_RATE, TASKS = 0.1, 0.5, 3
SHOTS, QUERIES = 6, 5


def drawn(seed, tasks):
    """Draw inputs a and b, targets p and q and a mask, of support and query, for some tasks."""
    rng = np.random.default_rng([*seed])

    def examples(count):
        sizes = {"a": 2, "b": 3, "p": 1, "q": 2}
        arrays = {name: rng.normal(size=(tasks, count, size)) for name, size in sizes.items()}
        # Between one and all of the examples count.
        shots = rng.integers(1, count + 1, size=(tasks, 1))
        return {**arrays, "mask": (np.arange(count) < shots).astype(float)}

    return examples(SHOTS), examples(QUERIES)


def squares(targets, outputs, mask):
    """Return the mean squared error of the examples that count."""
    return tf.reduce_sum(mask[:, None] * tf.square(targets - outputs)) / tf.reduce_sum(mask)


def mean_squares(targets, outputs):
    return tf.reduce_mean(tf.reduce_sum(tf.square(targets - outputs), -1))


def inputs():
    return keras.Input((2,), name="a", dtype="float64"), keras.Input((3,), name="b", dtype="float64")


def dense(size, name):
    return keras.layers.Dense(size, use_bias=False, name=name, dtype="float64")


def of_a_list():
    a, b = inputs()
    model = keras.Model([a, b], keras.layers.Add(dtype="float64")([dense(1, "w")(a), dense(1, "v")(b)]))
    return model, mean_squares, lambda e: ([e["a"], e["b"]], e["p"])


def of_a_dict():
    a, b = inputs()
    model = keras.Model(
        {"b": b, "a": a}, keras.layers.Add(dtype="float64")([dense(1, "w")(a), dense(1, "v")(b)])
    )
    return model, mean_squares, lambda e: ({"a": e["a"], "b": e["b"]}, e["p"])


def to_a_list():
    a, b = inputs()
    model = keras.Model([a, b], [dense(1, "w")(a), dense(2, "v")(b)])

    def loss(targets, outputs):
        return mean_squares(targets[0], outputs[0]) + 2 * mean_squares(targets[1], outputs[1])

    return model, loss, lambda e: ([e["a"], e["b"]], [e["p"], e["q"]])


def to_a_dict():
    a, b = inputs()
    model = keras.Model([a, b], {"p": dense(1, "w")(a), "q": dense(2, "v")(b)})

    def loss(targets, outputs):
        return mean_squares(targets["p"], outputs["p"]) + 2 * mean_squares(targets["q"], outputs["q"])

    return model, loss, lambda e: ([e["a"], e["b"]], {"q": e["q"], "p": e["p"]})


def of_unequal_shots():
    a, _ = inputs()
    model = keras.Model(a, dense(1, "w")(a))

    def loss(targets, outputs):
        return squares(targets["p"], outputs, targets["mask"])

    return model, loss, lambda e: (e["a"], {"p": e["p"], "mask": e["mask"]})


def of_masked_inputs():
    """Return a case in which the model receives the mask, with which it weights its features."""
    a, _ = inputs()
    mask = keras.Input((), name="mask", dtype="float64")
    weighted = keras.layers.Multiply(dtype="float64")(
        [dense(1, "w")(a), keras.layers.Reshape((1,), dtype="float64")(mask)]
    )
    model = keras.Model({"a": a, "mask": mask}, weighted)
    return model, mean_squares, lambda e: ({"a": e["a"], "mask": e["mask"]}, e["p"])


MADE = {each.__name__: each for each in (of_a_list, of_a_dict, to_a_list, to_a_dict, of_unequal_shots)}
MADE["of_masked_inputs"] = of_masked_inputs


def designs(name, e, task):
    """Return least-squares problems ``(columns, targets, weights of the examples)``, one for each output."""
    x = {key: value[task] for key, value in e.items()}
    count, rows = len(x["a"]), np.ones(len(x["a"]))
    if name in ("of_a_list", "of_a_dict"):
        return [(np.hstack([x["a"], x["b"]]), x["p"], rows / count)]
    if name == "of_unequal_shots":
        return [(x["a"], x["p"], x["mask"] / x["mask"].sum())]
    if name == "of_masked_inputs":
        return [(x["a"] * x["mask"][:, None], x["p"], rows / count)]
    return [(x["a"], x["p"], rows / count), (x["b"], x["q"], 2 * rows / count)]


def in_numpy(name, thetas, support, query, task):
    """Return query loss before and after a step on one task, and the gradient of the latter."""
    losses, gradients = np.zeros(2), []
    for theta, (x, y, w), (z, t, v) in zip(
        thetas, designs(name, support, task), designs(name, query, task), strict=True
    ):
        hessian = 2 * x.T @ (w[:, None] * x)
        adapted = theta - RATE * 2 * x.T @ (w[:, None] * (x @ theta - y))
        losses += [np.sum(v[:, None] * (z @ at - t) ** 2) for at in (theta, adapted)]
        outer = 2 * z.T @ (v[:, None] * (z @ adapted - t))
        gradients.append((np.eye(len(theta)) - RATE * hessian) @ outer)
    return losses, gradients


def joined(name, parameters):
    """Return parameters as the matrices of the least-squares problems."""
    leaves = [parameters[key].numpy() for key in ("w/kernel", "v/kernel") if key in parameters]
    return [np.vstack(leaves)] if name in ("of_a_list", "of_a_dict") else leaves


@pytest.mark.parametrize("name", mostly_slow(MADE, "of_a_dict", "to_a_list"))
def test_training_and_evaluation_are_those_of_numpy(name):
    model, loss, arranged = MADE[name]()
    learner = ml.MetaLearner(model, loss, ml.rules.sgd(RATE))
    source = ml.tasks.from_function(
        lambda seed, tasks: tuple(ml.Batch(*arranged(part)) for part in drawn(seed, tasks)), dtype="float64"
    )
    trainer = ml.MetaTrainer(learner, source, keras.optimizers.SGD(OUTER_RATE), TASKS, jit_compile=False)
    thetas = joined(name, trainer.meta["parameters"])
    per_block = trainer._blocks.stored * TASKS
    parts = [{key: leaf[:TASKS] for key, leaf in part.items()} for part in drawn((0, 0), per_block)]
    each = [in_numpy(name, thetas, *parts, task) for task in range(TASKS)]
    history = trainer.run(1)
    np.testing.assert_allclose(history["outer/loss_before"][0], np.mean([e[0][0] for e in each]), rtol=1e-6)
    np.testing.assert_allclose(history["outer/loss"][0], np.mean([e[0][1] for e in each]), rtol=1e-6)
    moved = joined(name, trainer.meta["parameters"])
    for place, (theta, found) in enumerate(zip(thetas, moved, strict=True)):
        gradient = np.mean([gradients[place] for _, gradients in each], 0)
        np.testing.assert_allclose(found, theta - OUTER_RATE * gradient, rtol=1e-9, atol=1e-12)

    report = ml.evaluate(learner, trainer.meta, source, num_tasks=4, steps=1, seed=1)
    parts = drawn((1, 2**32 - 1), 4)
    expected = [in_numpy(name, moved, *parts, task)[0] for task in range(4)]
    np.testing.assert_allclose(report.per_task, expected, rtol=1e-6)


def test_predictions_are_nested_as_outputs_are():
    model, loss, arranged = to_a_dict()
    learner = ml.MetaLearner(model, loss, "sgd", steps=0, metrics=[lambda t, o: tf.reduce_max(o["q"])])
    (inputs, targets), _ = (arranged(part) for part in drawn((0, 0), 2))
    support = ml.Batch(inputs, targets)
    meta = learner.initialize(0)
    outputs = learner.predict(learner.adapt(meta, support), support.inputs)
    assert {key: leaf.shape.as_list() for key, leaf in outputs.items()} == {"p": [2, 6, 1], "q": [2, 6, 2]}
    np.testing.assert_allclose(outputs["p"], support.inputs[0] @ meta["parameters"]["w/kernel"], rtol=1e-12)
    again = learner.to_keras(meta)([leaf[1] for leaf in support.inputs])
    np.testing.assert_allclose(again["q"], outputs["q"][1], rtol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "mean_squared_error"])
def test_a_loss_of_one_output_says_so(loss):
    model, _, arranged = to_a_list()
    learner = ml.MetaLearner(model, loss, "sgd")
    tasks = ml.Task(*(ml.Batch(*arranged(part)) for part in drawn((0, 0), 2)))
    with pytest.raises(
        ValueError,
        match=r"one tensor of targets and .* nested outputs, .*\(6, 1\), .*\(6, 2\): give a function",
    ):
        learner.require_fit(tf.nest.map_structure(tf.constant, tasks))
