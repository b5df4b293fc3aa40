"""A Keras model's own losses, loaded weights and frozen layers are used; compared with NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from tests.metalearn.normalized import by_complex_step

RATE = 0.1
# Regularisers hold them in float32: these are the same numbers there.
LASSO, RIDGE, ACTIVITY, FOURTH = 1 / 32, 1 / 16, 1 / 64, 1 / 128
KEYS = ("output/kernel", "output/bias")


class Fourth(keras.layers.Layer):
    """A layer that adds the sum of fourth powers to the losses."""

    def call(self, inputs):
        self.add_loss(FOURTH * keras.ops.sum(keras.ops.square(keras.ops.square(inputs))))
        return inputs


def regularised():
    """Return a linear model of all kinds of losses."""
    keras.utils.set_random_seed(1)
    dense = keras.layers.Dense(
        2,
        name="output",
        kernel_regularizer=keras.regularizers.L1L2(LASSO, RIDGE),
        activity_regularizer=keras.regularizers.L2(ACTIVITY),
        bias_initializer="normal",
        dtype="float64",
    )
    return keras.Sequential([keras.Input((3,), dtype="float64"), dense, Fourth(dtype="float64")])


def drawn(seed, tasks):
    rng = np.random.default_rng([*seed])
    support = rng.normal(size=(tasks, 6, 3)), rng.normal(size=(tasks, 6, 2))
    return support, (rng.normal(size=(tasks, 4, 3)), rng.normal(size=(tasks, 4, 2)))


@pytest.fixture(scope="module")
def source():
    return ml.tasks.from_function(drawn, dtype="float64")


def each(tasks):
    """Return tasks one by one, in NumPy."""
    batches = [(batch.inputs.numpy(), batch.targets.numpy()) for batch in (tasks.support, tasks.query)]
    return [[(x[index], y[index]) for x, y in batches] for index in range(len(batches[0][0]))]


def whole_loss(p, x, t):
    """Return the squared error and all that the model adds; analytic where no entry of the kernel is 0."""
    outputs = x @ p[0] + p[1]
    penalty = LASSO * (np.sign(p[0].real) * p[0]).sum() + RIDGE * (p[0] ** 2).sum()
    penalty += (
        ACTIVITY * (outputs**2).sum() / len(x)
    )  # Keras divides by the examples, but not what add_loss adds.
    return ((outputs - t) ** 2).mean() + penalty + FOURTH * (outputs**4).sum()


def whole_gradient(p, x, t):
    outputs = x @ p[0] + p[1]
    error = 2 * (outputs - t) / t.size + 2 * ACTIVITY * outputs / len(x) + 4 * FOURTH * outputs**3
    return [x.T @ error + LASSO * np.sign(p[0].real) + 2 * RIDGE * p[0], error.sum(0)]


def descended(p, x, t, steps):
    for _ in range(steps):
        p = [value - RATE * change for value, change in zip(p, whole_gradient(p, x, t), strict=True)]
    return p


class TestRegularisers:
    """Weight and activity regularisers and ``add_loss`` are part of the inner and of the outer loss."""

    @pytest.mark.parametrize("steps", [1, 2])
    def test_meta_gradients(self, source, in_graph, steps):
        learner = ml.MetaLearner(
            regularised(), "mse", ml.rules.sgd(RATE), steps=steps, initialize="model", mapping="vectorized"
        )
        meta, tasks = learner.initialize(0), source.sample((0, 0), 3)
        result = in_graph(learner.meta_gradient)(meta, tasks)
        values = [meta["parameters"][key].numpy() for key in KEYS]
        for index, (support, query) in enumerate(each(tasks)):

            def meta_loss(p, support=support, query=query):
                return whole_loss(descended(p, *support, steps), *query)

            np.testing.assert_allclose(result.loss[index], meta_loss(values), rtol=1e-12)
            for key, expected in zip(KEYS, by_complex_step(meta_loss, values), strict=True):
                found = result.per_task["parameters"][key][index]
                np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)

    def test_reported_losses(self, source):
        """Losses of ``adapt`` and ``evaluate`` include the regularisers, to 1e-12."""
        learner = ml.MetaLearner(
            regularised(), "mse", ml.rules.sgd(RATE), initialize="model", mapping="vectorized"
        )
        meta, tasks = learner.initialize(0), source.sample((1, -1), 2)
        values = [meta["parameters"][key].numpy() for key in KEYS]
        fitted = learner.adapt(meta, tasks.support, steps=2)
        report = ml.evaluate(learner, meta, source, num_tasks=2, steps=2, seed=1)
        for index, (support, query) in enumerate(each(tasks)):
            path = [descended(values, *support, steps) for steps in range(3)]
            np.testing.assert_allclose(
                fitted.support_loss[index], [whole_loss(p, *support) for p in path], rtol=1e-12
            )
            np.testing.assert_allclose(
                report.per_task[index], [whole_loss(p, *query) for p in path], rtol=1e-12
            )


class TestLoadedWeights:
    """``initialize="model"`` starts from the values that the model has."""

    def test_they_are_the_initial_parameters(self):
        model = ml.models.mlp(3, (4,), 2)
        loaded = [np.random.default_rng(0).normal(size=value.shape) for value in model.get_weights()]
        model.set_weights(loaded)
        own = ml.functional.parameters(model)
        learner = ml.MetaLearner(model, "mse", ml.rules.sgd(RATE), initialize="model")
        for seed in (0, 1):
            initial = learner.initialize(seed)["parameters"]
            assert initial.keys() == own.keys()
            for key, value in own.items():
                np.testing.assert_array_equal(initial[key], value)
        trainer = ml.MetaTrainer(
            learner, ml.tasks.from_function(drawn), keras.optimizers.SGD(0.125), meta_batch_size=2
        )
        for key, value in own.items():
            np.testing.assert_array_equal(trainer.meta["parameters"][key], value)

    def test_or_they_are_drawn(self):
        """By default (``"seed"``), parameters are drawn from the seed, independent of the model's weights."""
        model = ml.models.mlp(3, (4,), 2)
        default, drawn_anew = (
            ml.MetaLearner(model, "mse", ml.rules.sgd(RATE), **options)
            for options in ({}, {"initialize": "seed"})
        )
        one, other, next_seed = default.initialize(5), drawn_anew.initialize(5), default.initialize(6)
        key = "output/kernel"
        np.testing.assert_array_equal(one["parameters"][key], other["parameters"][key])
        for different in (next_seed["parameters"], ml.functional.parameters(model)):
            assert not np.array_equal(one["parameters"][key], different[key])

    def test_other_choices_are_refused(self):
        with pytest.raises(ValueError, match="initialize must be 'seed' or 'model', got 'weights'"):
            ml.MetaLearner(ml.models.mlp(), "mse", ml.rules.sgd(RATE), initialize="weights")


@pytest.fixture(scope="module")
def frozen():
    """Return a learner of a network with a frozen hidden layer."""
    model = ml.models.mlp(3, (4,), 2, activation="tanh", dtype="float64")
    hidden = model.get_layer("hidden_0")
    hidden.set_weights([np.random.default_rng(3).normal(size=each.shape) for each in hidden.get_weights()])
    hidden.trainable = False
    return ml.MetaLearner(model, "mse", ml.rules.sgd(RATE), steps=2)


class TestFrozenLayers:
    """Frozen layers keep their loaded values and are used, but are not meta-parameters."""

    def test_the_meta_gradient_is_that_of_regression_on_their_features(self, frozen, source, in_graph):
        """The meta-gradient equals that of linear regression on the frozen features, in closed form.

        It is ``J^2 (2/M) Z'(Z w_2 - t)`` with ``J = I - (2 rate

        N) X'X``, X and Z the features and ones. The loss is a mean over examples and two outputs: N and M
        count numbers.
        """
        meta, tasks = frozen.initialize(0), source.sample((0, 0), 2)
        assert meta["parameters"].keys() == {"output/kernel", "output/bias"}
        kernel, bias = frozen.model.get_layer("hidden_0").get_weights()
        result = in_graph(frozen.meta_gradient)(meta, tasks)

        def design(x):
            return np.hstack([np.tanh(x @ kernel + bias), np.ones((len(x), 1))])

        for index, ((x, y), (query, target)) in enumerate(each(tasks)):
            x, z = design(x), design(query)
            w = np.vstack([meta["parameters"][key].numpy().reshape(-1, 2) for key in KEYS])
            jacobian = np.eye(5) - 2 * RATE / y.size * x.T @ x
            for _ in range(2):
                w = w - RATE * 2 / y.size * x.T @ (x @ w - y)
            error = z @ w - target
            expected = np.linalg.matrix_power(jacobian, 2) @ (2 / target.size * z.T @ error)
            np.testing.assert_allclose(result.loss[index], (error**2).mean(), rtol=1e-12)
            found = [result.per_task["parameters"][key][index].numpy().reshape(-1, 2) for key in KEYS]
            np.testing.assert_allclose(np.vstack(found), expected, rtol=1e-9, atol=1e-12)

    def test_nothing_moves_them(self, frozen, source):
        """Neither training nor adaptation changes frozen variables, and phi does not contain them."""
        before = frozen.model.get_weights()
        options = {"meta_batch_size": 2, "jit_compile": False, "check_derivatives": False}
        trainer = ml.MetaTrainer(frozen, source, keras.optimizers.SGD(0.125), **options)
        trainer.run(2)
        assert {key for key in trainer.state() if "hidden" in key} == set()
        adapted = frozen.adapt(trainer.meta, source.sample((0, 0), 2).support)
        assert adapted.parameters.keys() == set(KEYS)
        for one, other in zip(before, frozen.model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        tf.debugging.assert_all_finite(adapted.support_loss, "support loss")
