"""Keras models from meta-parameters, by their predictions; and single tasks instead of a batch of tasks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from tests.metalearn.normalized import network
from tests.often import mostly_slow

RATE = 0.1


class Scale(keras.layers.Layer):
    """A user-defined layer that is not registered with Keras."""

    def build(self, shape):
        self.factor = self.add_weight(shape=shape[-1:], initializer="ones", name="factor")

    def call(self, x):
        return x * self.factor


class Own(keras.Model):
    """A subclassed model, which Keras recreates from the arguments of its constructor."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.first = keras.layers.Dense(width, activation="tanh")
        self.last = keras.layers.Dense(1)

    def call(self, x):
        return self.last(self.first(x))

    def get_config(self):
        return {**super().get_config(), "width": self.first.units}


def functional():
    given = keras.Input((2,))
    hidden = Scale()(ml.layers.Dense(3, activation=ml.layers.softsign)(given))
    return keras.Model(given, keras.layers.Dense(1, name="head")(hidden))


def subclassed():
    model = Own(3)
    model(tf.zeros((1, 2)))
    return model


def batch(seed, *leading):
    rng = np.random.default_rng(seed)
    return ml.Batch(*(rng.normal(size=(*leading, size)).astype("float32") for size in (2, 1)))


def moved(model):
    """Return a model's weights, away from where initializers put them."""
    rng = np.random.default_rng(3)
    return [value + rng.normal(size=value.shape).astype(value.dtype) for value in model.get_weights()]


@pytest.mark.parametrize("make", mostly_slow([functional, subclassed], functional))
def test_a_model_that_is_trained_by_hand_is_the_one_that_is_returned(make):
    """Initial and adapted Keras models equal those trained by Keras' SGD on the task's support."""
    model, by_hand = make(), make()
    by_hand.set_weights(moved(model))
    learner = ml.MetaLearner(model, "mse", ml.rules.sgd(RATE), steps=2)
    given = ml.functional.parameters(by_hand)
    meta, before = {"parameters": given, "rule": {}}, model.get_weights()
    support, query = batch(0, 7), batch(1, 5)
    initial, adapted = learner.to_keras(meta), learner.to_keras(meta, support)
    further = learner.to_keras(meta, support, steps=5)
    np.testing.assert_array_equal(initial(query.inputs), by_hand(query.inputs))
    by_hand.compile(keras.optimizers.SGD(RATE), "mse")
    for other, steps in ((adapted, 2), (further, 3)):
        by_hand.fit(*support, batch_size=7, epochs=steps, verbose=0)
        np.testing.assert_allclose(other(query.inputs), by_hand(query.inputs), rtol=1e-5, atol=1e-6)
    assert list(ml.functional.parameters(initial)) == list(meta["parameters"])
    initial.set_weights([value + 1 for value in initial.get_weights()])
    for value, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)


@pytest.mark.parametrize(
    "statistics",
    mostly_slow(["batch", "support", "moving", "per_step", "per_step_affine"], "per_step_affine"),
)
def test_answers_of_models_with_batch_statistics(statistics):
    """Outputs of the model equal those of ``predict``, one query at a time except for ``batch``."""
    learner = ml.MetaLearner(
        network(), "mse", ml.rules.sgd(RATE), 2, statistics=statistics, initialize="model"
    )
    rng = np.random.default_rng(0)
    support = ml.Batch(tf.constant(rng.normal(size=(7, 3))), tf.constant(rng.normal(size=(7, 2))))
    inputs = tf.constant(1 + 2 * rng.normal(size=(5, 3)))
    meta = learner.initialize(0)
    if "statistics" in meta:
        moved = {key: 0.5 + leaf + rng.uniform(size=leaf.shape) for key, leaf in meta["statistics"].items()}
        own = {key: leaf + rng.uniform(size=leaf.shape) for key, leaf in meta["parameters"].items()}
        meta = {**meta, "statistics": moved, "parameters": own}
    one = tf.nest.map_structure(lambda x: x[None], support)
    expected = learner.predict(learner.adapt(meta, one), inputs[None])[0]
    model = learner.to_keras(meta, support)
    if statistics == "batch":
        np.testing.assert_allclose(model(inputs, training=True), expected, rtol=1e-12)
        return
    answers = [model(row[None])[0] for row in inputs]
    np.testing.assert_allclose(answers, expected, rtol=1e-12)
    if "statistics" in meta:
        initial = ml.functional.state(learner.to_keras(meta))
        for key, leaf in meta["statistics"].items():
            first = leaf if statistics == "moving" else leaf[0]
            np.testing.assert_array_equal(initial[key], first)


def test_moving_statistics_come_back_from_a_model():
    """Moving statistics are read back from a model, except sets for each step, of which a model has one."""
    learner = ml.MetaLearner(network(), "mse", "sgd", statistics="moving")
    meta = tf.nest.map_structure(lambda leaf: leaf + 1, learner.initialize(0))
    again = learner.from_keras(learner.to_keras(meta))
    tf.nest.map_structure(np.testing.assert_array_equal, again, meta)
    per_step = ml.MetaLearner(network(), "mse", "sgd", statistics="per_step")
    with pytest.raises(ValueError, match=r"they also have statistics/.*: save and load them as \".npz\""):
        per_step.from_keras(network())
    with pytest.raises(ValueError, match="from_keras takes a Keras model, got dict"):
        learner.from_keras({})


def test_parameters_of_another_model_are_refused():
    """Missing keys and other shapes are an error, because the model's own values would remain."""
    learner = ml.MetaLearner(ml.models.mlp(1, (2,), 1), "mse", "sgd")
    meta = learner.initialize(0)
    del meta["parameters"]["output/bias"]
    with pytest.raises(ValueError, match=r"missing \['output/bias'\], unknown \[\]"):
        learner.to_keras(meta)
    with pytest.raises(ValueError, match=r"float32 \(3,\) at hidden_0/bias, where float32 \(2,\) is needed"):
        learner.to_keras(ml.MetaLearner(ml.models.mlp(1, (3,), 1), "mse", "sgd").initialize(0))


def test_models_that_keras_cannot_make_again_are_refused():
    class Fixed(keras.Model):
        def __init__(self, layers):
            super().__init__()
            self.last = layers[0]

        def call(self, x):
            return self.last(x)

    model = Fixed([keras.layers.Dense(1)])
    model(tf.zeros((1, 2)))
    learner = ml.MetaLearner(model, "mse", "sgd")
    with pytest.raises(ValueError, match="cannot be rebuilt from its configuration"):
        learner.to_keras(learner.initialize(0))


def test_one_task_is_not_taken_for_several():
    """A task without a leading axis is an error with a remedy, not a batch of tasks of one example."""
    learner = ml.MetaLearner(ml.models.mlp(1, (2,), 1), "mse", "sgd")
    meta, tasks = learner.initialize(0), ml.tasks.Sinusoid(shots=5, queries=5).sample((0, 0), 2)
    one = tf.nest.map_structure(lambda x: x[0], ml.Task(*tasks[:2]))
    remedy = (
        r"the shape \(5, 1\), which for this model are the examples of one task"
        r".*lambda x: x\[None\], {}\), and take \[0\]"
    )
    for call in (
        lambda: learner.adapt(meta, one.support),
        lambda: learner.meta_gradient(meta, one),
        lambda: learner.require_fit(one),
        lambda: ml.diagnostics.diagnose(learner, meta, one),
    ):
        with pytest.raises(ValueError, match=remedy.format("support")):
            call()
    fitted = learner.adapt(meta, tf.nest.map_structure(lambda x: x[None], one.support))
    with pytest.raises(ValueError, match=remedy.format("inputs")):
        learner.predict(fitted, one.query.inputs)
    several = learner.predict(learner.adapt(meta, tasks.support), tasks.query.inputs)
    single = learner.predict(fitted, one.query.inputs[None])
    np.testing.assert_allclose(single[0], several[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"\(2, 5, 1\), with an axis of tasks, .*lambda x: x\[0\], support"):
        learner.to_keras(meta, tasks.support)


def test_one_task_of_several_inputs():
    given = {"a": keras.Input((2,), name="a"), "b": keras.Input((None, 3), name="b")}
    outputs = keras.layers.Dense(1)(given["a"]) + keras.layers.Dense(1)(keras.ops.mean(given["b"], 1))
    learner = ml.MetaLearner(keras.Model(given, outputs), "mse", "sgd", steps=0)
    support = ml.Batch({"a": tf.zeros((6, 2)), "b": tf.zeros((6, 4, 3))}, tf.zeros((6, 1)))
    with pytest.raises(ValueError, match=r"have the shape \(6, 2\), \(6, 4, 3\), which .* of one task"):
        learner.adapt(learner.initialize(0), support)
    assert learner.adapt(learner.initialize(0), tf.nest.map_structure(lambda x: x[None], support))
