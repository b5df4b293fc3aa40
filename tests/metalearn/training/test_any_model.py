"""Models of every kind train and are evaluated with default settings, on the path that works."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

LAYERS = keras.layers


class Own(keras.Layer):
    """A layer that applies a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, inputs):
        return self.function(inputs)


class Repeated(keras.Model):
    """A model with a loop in its call."""

    def __init__(self):
        super().__init__()
        self.first, self.last = LAYERS.Dense(4, activation="tanh"), LAYERS.Dense(1)

    def call(self, inputs):
        return self.last(repeated(self.first(inputs)))


def repeated(values):
    return tf.while_loop(lambda k, _: k < 3, lambda k, v: (k + 1, tf.tanh(v)), (0, values))[1]


def branched():
    inputs = keras.Input((6,))
    both = [LAYERS.Dense(3, activation="tanh")(inputs), LAYERS.Dense(2)(inputs)]
    return keras.Model(inputs, LAYERS.Dense(1)(LAYERS.Concatenate()(both)))


def sliced():
    inputs = keras.Input((6,))
    hidden = LAYERS.Dense(4, activation="tanh")(inputs)
    return keras.Model(inputs, LAYERS.Dense(1)(hidden[:, :2] * hidden[:, 2:]))


def with_layer(layer):
    return keras.Sequential(
        [keras.Input((6,)), LAYERS.Dense(4, activation="tanh"), layer, LAYERS.Flatten(), LAYERS.Dense(1)]
    )


def pooled():
    first = [keras.Input((6,)), LAYERS.Reshape((6, 1)), LAYERS.Dense(2, activation="tanh")]
    return keras.Sequential([*first, LAYERS.MaxPooling1D(), LAYERS.Flatten(), LAYERS.Dense(1)])


slow = pytest.mark.slow

MODELS = [
    pytest.param(branched, ("vectorized", False), id="Concatenate", marks=slow),
    pytest.param(sliced, ("vectorized", True), id="slices", marks=slow),
    pytest.param(pooled, ("vectorized", True), id="MaxPooling1D", marks=slow),
    pytest.param(
        lambda: with_layer(Own(lambda x: tf.sort(x, -1))), ("sequential", False), id="sort", marks=slow
    ),
    pytest.param(
        lambda: with_layer(LAYERS.Lambda(lambda x: tf.math.top_k(x, 2)[0])), ("sequential", False), id="top_k"
    ),
    pytest.param(
        lambda: with_layer(Own(lambda x: tf.map_fn(tf.tanh, x))),
        ("sequential", False),
        id="map_fn",
        marks=slow,
    ),
    pytest.param(lambda: with_layer(Own(repeated)), ("sequential", False), id="while_loop", marks=slow),
    pytest.param(Repeated, ("sequential", False), id="subclassed", marks=slow),
    pytest.param(
        lambda: with_layer(Own(lambda x: x * tf.nn.l2_loss(x))),
        ("sequential", False),
        id="l2_loss",
        marks=slow,
    ),
]


@pytest.mark.parametrize(("model", "way"), MODELS)
def test_it_trains_by_default(model, way):
    """Models train with the expected mapping and compiler, and evaluations equal ``predict``.

    The compiled meta-gradient equals that of eager mode, to 1e-5.
    """
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    tasks = ml.tasks.from_arrays(
        [(random.normal(size=(12, 6)), random.normal(size=(12, 1))) for _ in range(4)], 4, 4
    )
    model = model()
    model(tf.zeros((1, 6)))
    learner = ml.MetaLearner(model, "mse", ml.rules.sgd(0.05), steps=2)
    trainer = ml.MetaTrainer(learner, tasks, keras.optimizers.Adam(), meta_batch_size=2)
    history = trainer.run(2)
    assert (trainer.mapping, trainer.jit_compile) == way
    assert trainer.disagreement < 1e-5
    assert history["meta_gradient/norm"].min() > 1e-3
    evaluation = ml.evaluate(learner, trainer.meta, tasks, num_tasks=2, steps=1)
    expected = [
        float(
            learner.loss(
                task.query.targets,
                learner.predict(learner.adapt(trainer.meta, _one(task), 1), task.query.inputs[None])[0],
            )
        )
        for task in _each(tasks.sample((1, -1), 2))
    ]
    np.testing.assert_allclose(evaluation.per_task[:, 1], expected, rtol=1e-4)


def _each(tasks):
    return [tf.nest.map_structure(lambda leaf, index=index: leaf[index], tasks) for index in range(2)]


def _one(task):
    return tf.nest.map_structure(lambda leaf: leaf[None], task.support)
