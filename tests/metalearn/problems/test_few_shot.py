"""The learner against explicit NumPy loops, closed forms and autodiff by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

ESTIMATORS = ["unrolled", "checkpointed", "first_order"]


def linear_learner(rate=0.05, steps=1, estimator="checkpointed", size=2):
    """Return a learner of linear regression in float64."""
    return ml.MetaLearner(
        ml.models.mlp(size, (), 1, dtype="float64"),
        ml.losses.mse,
        ml.rules.sgd(rate),
        steps,
        estimator=getattr(ml.estimators, estimator)(),
    )


def linear_tasks(tasks=2, examples=6, queries=4, size=2):
    """Return tasks of random points and targets."""
    random = np.random.default_rng(0)
    batches = [
        ml.Batch(*(tf.constant(random.normal(size=(tasks, count, width))) for width in (size, 1)))
        for count in (examples, queries)
    ]
    return ml.Task(*batches)


def linear_meta():
    """Return phi of the linear learner."""
    parameters = {
        "output/kernel": tf.constant([[0.3], [-0.7]], tf.float64),
        "output/bias": tf.constant([0.2], tf.float64),
    }
    return {"parameters": parameters, "rule": {}}


def descent(batch, rate, steps):
    """Return weights ``w = (kernel, bias)`` and support losses of each task after 0, ..., K steps.

    With the design matrix ``X = [x, 1]``, ``L = |X w - y|^2 / N`` and its gradient is
    ``2 X'(X w - y) / N``.
    """
    weights, losses = [], []
    for inputs, targets in zip(batch.inputs.numpy(), batch.targets.numpy(), strict=True):
        design, w = np.hstack([inputs, np.ones((len(inputs), 1))]), np.array([[0.3], [-0.7], [0.2]])
        path, errors = [w], [np.mean((design @ w - targets) ** 2)]
        for _ in range(steps):
            w = w - rate * 2 / len(inputs) * design.T @ (design @ w - targets)
            path.append(w)
            errors.append(np.mean((design @ w - targets) ** 2))
        weights.append(path)
        losses.append(errors)
    return np.array(weights), np.array(losses)


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_adapt_is_gradient_descent(in_graph, steps):
    """Parameters ``[T, ...]``, support losses ``[T, K+1]`` and predictions equal a NumPy loop to 1e-13."""
    learner, tasks = linear_learner(steps=1), linear_tasks()
    fitted = in_graph(lambda meta, support: learner.adapt(meta, support, steps=steps))(
        linear_meta(), tasks.support
    )
    weights, losses = descent(tasks.support, 0.05, steps)
    assert fitted.parameters["output/kernel"].shape == (2, 2, 1)
    assert fitted.support_loss.shape == (2, steps + 1)
    np.testing.assert_allclose(fitted.parameters["output/kernel"], weights[:, -1, :2], rtol=0, atol=1e-13)
    np.testing.assert_allclose(fitted.parameters["output/bias"], weights[:, -1, 2], rtol=0, atol=1e-13)
    np.testing.assert_allclose(fitted.support_loss, losses, rtol=0, atol=1e-13)
    outputs = learner.predict(fitted.parameters, tasks.query.inputs)
    expected = tasks.query.inputs.numpy() @ weights[:, -1, :2] + weights[:, -1, 2:]
    assert outputs.shape == (2, 4, 1)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-13)


def test_adapt_takes_the_steps_of_training_unless_told():
    """With ``steps=None``, the number of steps is that of the learner."""
    fitted = linear_learner(steps=3).adapt(linear_meta(), linear_tasks().support)
    np.testing.assert_allclose(
        fitted.support_loss, descent(linear_tasks().support, 0.05, 3)[1], rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_linear_regression_has_a_closed_form(in_graph, name, steps):
    """The meta-gradient equals its closed form, including the bias, to 1e-10.

    With ``X = [x, 1]`` on the N support points and Z so on the M query points, one step is
    ``w_1 = w_0 - (2a/N) X'(X w_0 - y)``, so ``d w_1 / d w_0 = I - (2a/N) X'X =: J``, a constant and
    symmetric; after K steps it is ``J^K``. With ``|Z w_K - t|^2 / M`` outside, the meta-gradient is
    ``J^K (2/M) Z'(Z w_K - t)``; the first-order one lacks ``J^K``.
    """
    rate, tasks = 0.05, linear_tasks()
    result = in_graph(linear_learner(rate, steps, name).meta_gradient)(linear_meta(), tasks)
    weights, _ = descent(tasks.support, rate, steps)
    for task in range(2):
        x, z = (
            np.hstack([inputs, np.ones((len(inputs), 1))])
            for inputs in (tasks.support.inputs[task].numpy(), tasks.query.inputs[task].numpy())
        )
        error = z @ weights[task, -1] - tasks.query.targets[task].numpy()
        expected = 2 / len(z) * z.T @ error
        if name != "first_order":
            jacobian = np.eye(3) - 2 * rate / len(x) * x.T @ x
            expected = np.linalg.matrix_power(jacobian, steps) @ expected
        found = result.per_task["parameters"]
        np.testing.assert_allclose(found["output/kernel"][task], expected[:2], rtol=0, atol=1e-10)
        np.testing.assert_allclose(found["output/bias"][task], expected[2], rtol=0, atol=1e-10)
        np.testing.assert_allclose(result.loss[task], np.mean(error**2), rtol=1e-12)


@pytest.fixture(scope="module")
def head():
    """Return a learner that adapts the output layer only, in float64."""
    model = ml.models.mlp(hidden=(3,), activation="tanh", dtype="float64")
    return ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1), steps=2, adapted="output/*")


def test_adapted_selects_what_moves(head, sinusoids):
    """With ``adapted="output/*"``, the head takes the gradient step, and all else keeps its bits."""
    meta = head.initialize(0)
    fitted = head.adapt(meta, sinusoids.support, steps=1)
    for key, value in meta["parameters"].items():
        moved = fitted.parameters[key].numpy() - value.numpy()[None]
        assert moved.shape == (3, *value.shape)
        assert np.any(moved) == key.startswith("output/")
    hidden = np.tanh(
        sinusoids.support.inputs.numpy() @ meta["parameters"]["hidden_0/kernel"].numpy()
    )  # biases are zero at the start
    errors = hidden @ meta["parameters"]["output/kernel"].numpy() - sinusoids.support.targets.numpy()
    step = -0.1 * 2 / 10 * np.einsum("tnh,tno->tho", hidden, errors)
    np.testing.assert_allclose(
        fitted.parameters["output/kernel"], meta["parameters"]["output/kernel"] + step, rtol=0, atol=1e-13
    )


def test_meta_gradient_of_shared_parameters(head, sinusoids, in_graph):
    """With ``adapted="output/*"``, the meta-gradient equals nested tapes of two steps, to 1e-12."""
    meta = head.initialize(0)
    result = in_graph(head.meta_gradient)(meta, sinusoids)

    def loss(shared, own, batch):
        hidden = tf.tanh(batch.inputs @ shared["hidden_0/kernel"] + shared["hidden_0/bias"])
        outputs = hidden @ own["output/kernel"] + own["output/bias"]
        return tf.reduce_mean(tf.square(outputs - batch.targets))

    for index in range(3):
        support, query, *_ = tf.nest.map_structure(lambda leaf, index=index: leaf[index], sinusoids)
        phi = meta["parameters"]
        with tf.GradientTape() as outer:
            outer.watch(phi)
            own = {key: phi[key] for key in ("output/kernel", "output/bias")}
            for _ in range(2):
                with tf.GradientTape() as inner:
                    inner.watch(own)
                    value = loss(phi, own, support)
                gradient = inner.gradient(value, own)
                own = {key: own[key] - 0.1 * gradient[key] for key in own}
            value = loss(phi, own, query)
        for key, expected in outer.gradient(value, phi).items():
            found = result.per_task["parameters"][key][index]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_losses_around_adaptation():
    """Support and query losses before and after adaptation equal NumPy's for each task, to 1e-12."""
    learner, tasks, meta = linear_learner(steps=3), linear_tasks(), linear_meta()
    weights, support = descent(tasks.support, 0.05, 3)
    adapted = {
        "output/kernel": tf.constant(weights[:, -1, :2]),
        "output/bias": tf.constant(weights[:, -1, 2]),
    }
    losses = learner.losses(meta, tasks, ml.Inner(adapted))
    query = [
        np.mean((tasks.query.inputs.numpy() @ w[:, :2] + w[:, 2:] - tasks.query.targets.numpy()) ** 2, (1, 2))
        for w in (weights[:, 0], weights[:, -1])
    ]
    expected = {
        "inner/loss_before": support[:, 0],
        "inner/loss": support[:, -1],
        "outer/loss_before": query[0],
        "outer/loss": query[1],
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-12)


class Spare(keras.layers.Layer):
    """A layer with a weight on which nothing depends."""

    def build(self, shape):
        self.unused = self.add_weight(shape=(2,), name="unused")

    def call(self, inputs):
        return inputs


@pytest.mark.parametrize("adapted", ["all", "output/*"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_unused_parameters_are_named(name, adapted):
    """A parameter on which the loss does not depend is an error that names only this parameter."""
    layers = [keras.layers.Dense(2, name="hidden"), Spare(name="spare"), keras.layers.Dense(1, name="output")]
    learner = ml.MetaLearner(
        keras.Sequential([keras.Input((1,)), *layers]),
        ml.losses.mse,
        ml.rules.sgd(0.1),
        adapted=adapted,
        estimator=getattr(ml.estimators, name)(),
    )
    with pytest.raises(ValueError, match=r"no gradient reaches (parameters/)?spare/unused:"):
        learner.meta_gradient(learner.initialize(0), ml.tasks.Sinusoid().sample((0, 0), 2))


@pytest.mark.parametrize("steps", [-1, 1.5])
def test_bad_steps_are_refused(steps):
    """Steps are integers of at least 0; the message names the argument and its value."""
    with pytest.raises(ValueError, match=f"steps must be an integer of at least 0, got {steps}"):
        linear_learner(steps=steps)
    with pytest.raises(ValueError, match="steps must be an integer of at least 0, got -1"):
        linear_learner().adapt(linear_meta(), linear_tasks().support, steps=-1)


def test_constraints_are_refused():
    """No update would enforce them; those of frozen layers have no effect anyway."""
    layer = keras.layers.Dense(1, kernel_constraint="non_neg", name="output")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, name="hidden"), layer])
    with pytest.raises(
        ValueError, match=r"output/kernel of model .* constraints, .*: omit them .*projection"
    ):
        ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd())
    layer.trainable = False
    ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd())


def test_globs_that_match_nothing_are_refused():
    """The message shows the pattern and the available keys."""
    with pytest.raises(ValueError, match=r"'head/\*' matches none .*'output/kernel', 'output/bias'"):
        ml.MetaLearner(ml.models.mlp(hidden=()), ml.losses.mse, ml.rules.sgd(), adapted="head/*")


@pytest.mark.parametrize(("arguments", "shapes"), [((3, (), 1), "(3,)"), ((1, (), 2), "(2,)")])
def test_shapes_that_do_not_fit_are_refused(arguments, shapes):
    """The message names both shapes, of inputs or of outputs."""
    learner = ml.MetaLearner(ml.models.mlp(*arguments), ml.losses.mse, ml.rules.sgd())
    with pytest.raises(ValueError, match="change the model's") as error:
        learner.require_fit(ml.tasks.Sinusoid().sample((0, 0), 1))
    assert shapes in str(error.value)
    assert "(1,)" in str(error.value)


def test_subclassed_models_fit():
    """A subclassed model that has been called once is accepted."""

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, inputs, training=None):
            return self.dense(inputs)

    model = Subclassed()
    model(tf.zeros((1, 1)))
    learner = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd())
    assert learner.require_fit(ml.tasks.Sinusoid().sample((0, 0), 1)) == []


@pytest.mark.parametrize("estimator", ["checkpointed", "first_order"])
def test_classes_without_an_output_are_refused(estimator):
    """Trainer and evaluation check that classes have an output, because a graph would return NaN."""
    random = np.random.default_rng(0)
    data = random.normal(size=(30, 2)).astype("float32"), random.integers(0, 4, 30)
    tasks = ml.tasks.from_arrays([data], shots=10, queries=10)
    model = keras.Sequential([keras.Input((2,)), ml.layers.Dense(3)])
    learner = ml.MetaLearner(model, "cross_entropy", "sgd", estimator=estimator)
    with pytest.raises(ValueError, match=r"cross_entropy: .* class"):
        ml.MetaTrainer(learner, tasks, keras.optimizers.Adam(), check_derivatives=False)
    with pytest.raises(ValueError, match=r"cross_entropy: .* class"):
        ml.evaluate(learner, learner.initialize(0), tasks, num_tasks=2, steps=1)


def test_sequences_of_open_length_have_classes():
    """Classes for each point of sequences of unspecified length are trained on, given those of tasks."""
    random = np.random.default_rng(0)
    data = random.normal(size=(12, 5, 2)).astype("float32"), random.integers(0, 3, (12, 5))
    tasks = ml.tasks.from_arrays([data], shots=4, queries=4)
    model = keras.Sequential([keras.Input((None, 2)), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner = ml.MetaLearner(model, loss, "sgd", estimator="first_order")
    trainer = ml.MetaTrainer(learner, tasks, keras.optimizers.Adam(), 2, check_derivatives=False)
    before = float(ml.evaluate(learner, trainer.meta, tasks, num_tasks=2, steps=1).mean[0])
    np.testing.assert_allclose(before, np.log(3), atol=0.8)
