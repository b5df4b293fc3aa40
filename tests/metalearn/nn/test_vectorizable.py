"""Models that are known to have no vectorised form, which is confirmed by building them."""

import keras
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution.choice import NotVectorizableError
from metalearn.nn.vectorizable import is_sequential

LAYERS = keras.layers

CASES = [
    ((3,), lambda: LAYERS.Dense(2), False),
    ((4, 4, 1), lambda: LAYERS.MaxPooling2D(), False),
    ((4, 4, 1), lambda: LAYERS.Conv2D(2, 3), True),
    ((4, 4, 1), lambda: LAYERS.DepthwiseConv2D(3), True),
    ((8, 1), lambda: LAYERS.SeparableConv1D(2, 3), True),
    ((8, 1), lambda: LAYERS.Conv1DTranspose(2, 3), True),
    ((8, 1), lambda: LAYERS.Bidirectional(LAYERS.GRU(2)), True),
    ((3,), lambda: LAYERS.Dense(2, activation="sparsemax"), True),
    ((3,), lambda: LAYERS.Dropout(0.5), True),
]


def model_of(shape, layer):
    return keras.Sequential([keras.Input(shape), layer(), LAYERS.Flatten(), LAYERS.Dense(1)])


@pytest.mark.parametrize(("shape", "layer", "expected"), CASES)
def test_layers_of_keras(shape, layer, expected):
    """Layers without a vectorised form are recognised, also if nested in another layer or model."""
    assert is_sequential(model_of(shape, layer)) == expected
    assert is_sequential(keras.Sequential([keras.Input(shape), model_of(shape, layer)])) == expected


# Not the depthwise convolution, which can be built and is slow, nor the loop, which takes long to fail.
@pytest.mark.parametrize(("shape", "layer", "expected"), [CASES[2], *CASES[4:6], *CASES[7:]])
def test_they_have_no_vectorised_form(shape, layer, expected, capfd):
    """These layers' meta-gradients have no vectorised form, and TensorFlow's messages are not printed."""
    learner = ml.MetaLearner(model_of(shape, layer), "mse", "sgd", mapping="vectorized")
    batch = ml.Batch(tf.ones([2, 3, *shape]), tf.ones([2, 3, 1]))
    program = tf.function(lambda meta: learner.meta_gradient(meta, ml.Task(batch, batch)), autograph=False)
    with pytest.raises(NotVectorizableError, match="map tasks one after the other"):
        program.get_concrete_function(learner.initialize(0))
    assert "pfor" not in capfd.readouterr().err


def test_a_learner_of_them_does_not_try():
    """The default mapping of such a model is sequential, and a given mapping is kept."""
    convolution = model_of((4, 1), lambda: LAYERS.Conv1D(1, 3))
    for model, mapping, expected in (
        (ml.models.mlp(), "auto", "auto"),
        (ml.models.mlp(), "sequential", "sequential"),
        (convolution, "auto", "sequential"),
        (convolution, "vectorized", "vectorized"),
    ):
        assert ml.MetaLearner(model, "mse", "sgd", mapping=mapping).mapping == expected
