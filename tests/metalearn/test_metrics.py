"""Metrics against counting by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from metalearn import losses, metrics

OUTPUTS = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0], [0.5, 0.5, 0.0], [-1.0, -2.0, -0.5]], np.float32)
CLASSES = np.array([0, 1, 0, 2])


@pytest.mark.parametrize(
    "targets",
    [CLASSES, CLASSES[:, None], CLASSES.astype(np.uint8), np.eye(3)[CLASSES], 0.6 * np.eye(3)[CLASSES] + 0.1],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_accuracy_is_the_share_of_right_answers(targets, dtype):
    """Three of four predictions are correct; of tied outputs, the first counts."""
    value = metrics.accuracy(targets, OUTPUTS.astype(dtype))
    assert value.dtype == dtype
    assert float(value) == 0.75


@pytest.mark.parametrize("jit", [False, True])
def test_accuracy_counts_what_is_not_a_number_as_wrong(jit):
    outputs = OUTPUTS.copy()
    outputs[0, 2] = outputs[2, 0] = np.nan
    outputs[3] = np.nan
    accuracy = tf.function(metrics.accuracy, jit_compile=jit, autograph=False)
    assert float(accuracy(tf.constant(CLASSES), tf.constant(outputs))) == 0
    assert float(accuracy(tf.zeros([4], tf.int32), tf.fill([4, 3], np.float32(np.nan)))) == 0


def test_accuracy_vectorised_over_tasks():
    value = tf.vectorized_map(
        lambda both: metrics.accuracy(*both),
        (tf.constant([CLASSES, CLASSES]), tf.constant([OUTPUTS, -OUTPUTS])),
        fallback_to_while_loop=False,
    )
    np.testing.assert_array_equal(value, [0.75, 0.25 * sum(np.argmax(-OUTPUTS, 1) == CLASSES)])


def test_accuracy_refuses_labels_that_cannot_be():
    with pytest.raises(ValueError, match=r"accuracy: .*Cast classes to integers"):
        metrics.accuracy(CLASSES.astype(np.float32), OUTPUTS)
    with pytest.raises(ValueError, match=r"accuracy: .*: classification needs at least two"):
        metrics.accuracy(np.zeros(4, int), OUTPUTS[:, :1])


def test_get():
    targets, outputs = np.eye(3)[CLASSES].astype(np.float32), tf.constant(OUTPUTS)
    assert metrics.get("accuracy") is metrics.accuracy
    assert metrics.get("mse") is losses.mse
    assert metrics.get(metrics.accuracy) is metrics.accuracy
    for name, expected in (
        ("mean_absolute_error", np.abs(targets - OUTPUTS).mean()),
        ("categorical_accuracy", 0.75),
    ):
        np.testing.assert_allclose(metrics.get(name)(targets, outputs), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("get", "'get' is not known"),
        ("acuracy", "the metric 'acuracy' is not known: give one of 'accuracy', 'cross_entropy', 'mse'"),
        ("AUC", "AUC of Keras accumulates in its own variables"),
        (keras.metrics.CategoricalAccuracy(), r"CategoricalAccuracy .*give a function \(targets, outputs\)"),
        (keras.metrics.categorical_accuracy, "returns one number for each example"),
        (None, "the metric must be a name or a function"),
    ],
)
def test_get_refuses(metric, message):
    with pytest.raises(ValueError, match=message):
        metrics.get(metric)


@pytest.mark.parametrize("given", ["accuracy", metrics.accuracy, {"accuracy": losses.mse}])
def test_metrics_are_a_list(given):
    """A dict was read as its keys, so that its functions were ignored."""
    assert list(metrics.named([metrics.accuracy])) == ["accuracy"]
    with pytest.raises(ValueError, match=r"metrics must be a list .*: write metrics=\['accuracy'\]"):
        metrics.named(given)
