"""Losses compared with NumPy, their derivatives with differences, and errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn import losses
from metalearn.autodiff import central_differences, check_gradients, hvp, value_and_gradient

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((5, 3))
SOFT = RNG.dirichlet(np.ones(3), 5)
CLASSES = np.array([0, 2, 1, 1, 2])


def in_numpy(weights, logits):
    """Return the mean cross-entropy in a loop over examples."""
    total = 0.0
    for row, weight in zip(logits, weights, strict=True):
        total -= weight @ (row - np.log(np.exp(row).sum()))
    return total / len(logits)


def test_mse_is_the_mean_over_examples_and_components():
    """The loss is ``mean((o - t)^2)``, and its gradient by the outputs is ``2 (o - t)

    (N D)``.
    """
    targets, outputs = np.random.default_rng(0).normal(size=(2, 5, 3))
    value, gradient = value_and_gradient(
        lambda outputs: losses.mse(tf.constant(targets), outputs), tf.constant(outputs)
    )
    np.testing.assert_allclose(value, ((outputs - targets) ** 2).mean(), rtol=1e-14)
    np.testing.assert_allclose(gradient, 2 * (outputs - targets) / 15, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, np.float16, np.bool_])
def test_mse_casts_targets_to_the_type_of_the_outputs(dtype):
    value = losses.mse(np.array([[1], [0]], dtype), tf.constant([[0.5], [0.5]]))
    assert value.dtype == tf.float32
    assert float(value) == 0.25


@pytest.mark.parametrize(("targets", "outputs"), [((4,), (4, 1)), ((4, 1), (1, 1)), ((4, 2), (4, 1))])
def test_mse_does_not_broadcast(targets, outputs):
    """Shapes that NumPy would broadcast are rejected, and the message names both."""
    with pytest.raises(ValueError, match="no broadcasting") as error:
        losses.mse(tf.zeros(targets), tf.zeros(outputs))
    assert str(targets) in str(error.value)
    assert str(outputs) in str(error.value)


def test_mse_refuses_what_are_no_numbers():
    with pytest.raises(ValueError, match="mse: outputs must be floating point, got int32"):
        losses.mse(tf.zeros([2, 1]), tf.zeros([2, 1], tf.int32))
    with pytest.raises(ValueError, match="mse: targets must be numbers, got string"):
        losses.mse(tf.constant([["a"]]), tf.zeros([1, 1]))


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_cross_entropy_of_classes(dtype, shape):
    expected = in_numpy(np.eye(3)[CLASSES], LOGITS)
    value = losses.cross_entropy(CLASSES.astype(dtype).reshape(shape), tf.constant(LOGITS))
    assert value.dtype == tf.float64
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    small = losses.cross_entropy(CLASSES.reshape(shape), tf.constant(LOGITS, tf.float32))
    assert small.dtype == tf.float32
    np.testing.assert_allclose(small, expected, rtol=1e-6)


def test_cross_entropy_of_soft_targets_that_need_not_sum_to_one():
    for weights in (SOFT, 3 * SOFT - 1, np.eye(3)[CLASSES].astype(np.float32)):
        np.testing.assert_allclose(
            losses.cross_entropy(weights, tf.constant(LOGITS)), in_numpy(weights, LOGITS), rtol=1e-13
        )


def test_cross_entropy_is_safe_for_large_logits():
    logits = tf.constant([[1e4, 0.0], [-1e4, 0.0]])
    np.testing.assert_allclose(losses.cross_entropy([0, 1], logits), 0.0)
    np.testing.assert_allclose(losses.cross_entropy([1, 0], logits), 1e4)


def test_gradients_of_targets_and_logits_against_differences():
    x = {"logits": tf.constant(LOGITS), "targets": tf.constant(3 * SOFT - 1)}
    report = check_gradients(lambda x: losses.cross_entropy(x["targets"], x["logits"]), x)
    assert report.passed(1e-9), report.worst


def test_mixed_second_derivatives_in_closed_form():
    """Mixed second derivatives equal the closed form, for targets with any sum, to 1e-12.

    They are ``d^2 L

    d targets_nc d logits_nj = (p_nj - [c = j])

    N``.
    """
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    v = np.sin(np.arange(15.0)).reshape(5, 3)

    def along(targets):
        _, slope = value_and_gradient(lambda o: losses.cross_entropy(targets, o), tf.constant(LOGITS))
        return tf.reduce_sum(slope * v)

    _, mixed = value_and_gradient(along, tf.constant(3 * SOFT - 1))
    expected = ((probabilities * v).sum(1, keepdims=True) - v) / 5
    np.testing.assert_allclose(mixed, expected, rtol=1e-12)


@pytest.mark.parametrize("run", [lambda f: f, lambda f: tf.function(f, jit_compile=True, autograph=False)])
def test_second_derivatives_mixed_ones_included_against_differences(run):
    """Second derivatives, also mixed ones, equal differences to 1e-9; TensorFlow's own are wrong."""
    x = {"logits": tf.constant(LOGITS), "targets": tf.constant(3 * SOFT - 1)}
    v = tf.nest.map_structure(tf.sin, x)

    def ours(x):
        return losses.cross_entropy(x["targets"], x["logits"])

    def theirs(x):
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(x["targets"], x["logits"]))

    product = run(lambda x, v: hvp(ours, x, v))(x, v)
    expected, error = central_differences(lambda x: value_and_gradient(ours, x)[1], x, v)
    for key in x:
        assert np.max(error[key]) < 1e-9
        np.testing.assert_allclose(product[key], expected[key], rtol=0, atol=1e-9)
    wrong = hvp(theirs, x, v)
    assert max(np.abs(wrong[key] - expected[key]).max() for key in x) > 0.01


def test_learned_targets_through_an_inner_step():
    """The derivative of a query loss by soft targets of an inner step equals differences, to 1e-8."""
    inputs, query = tf.constant(RNG.standard_normal((5, 4))), tf.constant(RNG.standard_normal((6, 4)))
    weights, labels = tf.constant(RNG.standard_normal((4, 3))), np.array([0, 1, 2, 0, 1, 2])

    def after_a_step(targets):
        _, slope = value_and_gradient(lambda w: losses.cross_entropy(targets, inputs @ w), weights)
        return losses.cross_entropy(labels, query @ (weights - 0.5 * slope))

    report = check_gradients(tf.function(after_a_step, autograph=False), tf.constant(SOFT))
    assert report.passed(1e-8), report.worst


def test_vectorised_over_tasks():
    targets, outputs = np.stack([CLASSES, CLASSES[::-1]]), tf.constant(np.stack([LOGITS, -LOGITS]))
    mapped = tf.vectorized_map(
        lambda both: losses.cross_entropy(*both),
        (tf.constant(targets), outputs),
        fallback_to_while_loop=False,
    )
    expected = [in_numpy(np.eye(3)[t], o) for t, o in zip(targets, outputs.numpy(), strict=True)]
    np.testing.assert_allclose(mapped, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("targets", "outputs", "message"),
    [
        (np.zeros(4), (4, 3), r"\(4,\) \(float64\).*one-hot or soft.*tf\.cast\(targets, tf\.int32\)"),
        (np.zeros((4, 1)), (4, 3), "Cast classes to integers"),
        (np.zeros((4, 2)), (4, 3), r"\(4, 2\)"),
        (np.zeros((4, 3), int), (4, 3), r"integer targets are classes.*tf\.cast\(targets, outputs\.dtype\)"),
        (np.zeros(3, int), (4, 3), r"\(3,\) \(int64\) and outputs \(4, 3\)"),
        (np.zeros((4, 1), int), (4, 1), "classification needs at least two classes"),
        (np.zeros(4, int), (4,), r"logits \[N, C\]: reshape"),
        (np.array([True] * 4), (4, 2), "cast the targets to integers"),
        (np.array([0, 3, 1, 2]), (4, 3), "from 0 to 3, and the outputs have 3 logits, classes 0 to 2"),
        (np.array([0, -1, 1, 2]), (4, 3), "from -1 to 2"),
    ],
)
def test_labels_that_cannot_be_are_refused(targets, outputs, message):
    with pytest.raises(ValueError, match=message):
        losses.cross_entropy(targets, tf.zeros(outputs))


@pytest.mark.parametrize("jit", [False, True])
def test_classes_out_of_range_in_a_graph_are_nan(jit):
    """Classes out of range have the loss NaN in a graph, because they would otherwise have none."""
    value = tf.function(losses.cross_entropy, jit_compile=jit, autograph=False)
    for classes in ([0, 3], [-1, 0]):
        assert np.isnan(value(tf.constant(classes), tf.zeros([2, 3])))
    np.testing.assert_allclose(value(tf.constant([0, 2]), tf.zeros([2, 3])), np.log(3), rtol=1e-6)


def own_loss(targets, outputs):
    return tf.reduce_max(tf.abs(targets - outputs))


def test_get_returns_functions_to_scalars():
    targets, outputs = RNG.uniform(0.1, 0.9, (2, 5, 3))
    for loss, expected in (
        ("mse", np.square(targets - outputs).mean()),
        ("cross_entropy", in_numpy(targets, outputs)),
        ("mean_absolute_error", np.abs(targets - outputs).mean()),
        ("MeanAbsoluteError", np.abs(targets - outputs).mean()),
        (keras.losses.MeanAbsoluteError(), np.abs(targets - outputs).mean()),
        (keras.losses.MeanAbsoluteError(reduction="sum"), np.abs(targets - outputs).mean(1).sum()),
        (keras.losses.CategoricalCrossentropy(from_logits=True), in_numpy(targets, outputs)),
        (own_loss, np.abs(targets - outputs).max()),
    ):
        found = losses.get(loss)(tf.constant(targets), tf.constant(outputs))
        assert found.dtype == tf.float64
        assert found.shape.rank == 0
        np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=losses.describe(loss))


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_ignored_classes_do_not_count(reduction):
    """The mean is over the examples that are not ignored, as in Keras, also under XLA."""
    targets, outputs = tf.constant([0, -1, 2, -1]), tf.constant(RNG.normal(size=(4, 3)))
    loss = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=-1, reduction=reduction)
    logs = np.log(np.exp(outputs).sum(1))
    expected = logs[0] - outputs[0, 0] + logs[2] - outputs[2, 2]
    expected = expected if reduction == "sum" else expected / 2
    for function in (losses.get(loss), tf.function(losses.get(loss), jit_compile=True)):
        np.testing.assert_allclose(function(targets, outputs), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", ["mean_absolute_error", keras.losses.MeanAbsoluteError()])
def test_masked_time_steps_do_not_count(loss):
    """The mask that an embedding makes of zeros reaches the loss, in a learner as in Keras."""
    model = keras.Sequential([keras.Input([3], dtype="int32"), keras.layers.Embedding(5, 2, mask_zero=True)])
    inputs, targets = np.array([[1, 2, 0], [3, 0, 0]]), np.zeros([2, 3, 2], np.float32)
    learner = ml.MetaLearner(model, loss, ml.rules.sgd(0.1), steps=0, initialize="model")
    batch = ml.Batch(tf.constant(inputs)[None], tf.constant(targets)[None])
    found = learner.meta_gradient(learner.initialize(0), ml.Task(batch, batch)).loss[0]
    np.testing.assert_allclose(found, np.abs(model(inputs).numpy())[inputs > 0].mean(), rtol=1e-6)


def test_classes_are_not_rounded_to_half_precision():
    outputs = tf.cast(RNG.normal(size=(1, 300)), tf.bfloat16)
    loss = losses.get(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    expected = in_numpy(np.eye(300)[[257]], outputs.numpy().astype(np.float64))
    np.testing.assert_allclose(loss(tf.constant([257]), outputs), expected, rtol=1e-6)


def test_get_is_equal_for_equal_settings():
    assert losses.get("mse") is losses.get(losses.mse) is ml.losses.mse
    assert losses.get(own_loss) is own_loss
    assert losses.get("mean_absolute_error") == losses.get("mean_absolute_error")
    hash(losses.get("MeanAbsoluteError"))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("mes", r"'mes' is not known: give one of 'cross_entropy', 'mse', a name that Keras knows"),
        (keras.losses.mean_squared_error, r"tf\.reduce_mean\(keras\.losses\.mean_squared_error\(targets"),
        (keras.losses.MeanSquaredError(reduction=None), r"reduction=None.*reduction='sum_over_batch_size'"),
        (keras.losses.MeanSquaredError(reduction="none"), "reduction='none'"),
        (keras.losses.MeanSquaredError, "must be a name or a function"),
        (None, "must be a name or a function .* got None"),
        (3.0, "got 3.0"),
    ],
)
def test_get_refuses(loss, message):
    with pytest.raises(ValueError, match=message):
        losses.get(loss)


SPEC = tf.TensorSpec([5, 3])


def test_losses_are_judged_on_shapes():
    for loss in ("mse", "cross_entropy", "mean_absolute_error", keras.losses.Huber(), own_loss):
        losses.require_scalar_loss(losses.get(loss), SPEC, SPEC)
    losses.require_scalar_loss(losses.cross_entropy, tf.TensorSpec([5], tf.uint8), SPEC)
    losses.require_scalar_loss(lambda t, o: tf.reduce_sum(o["a"] * t["b"]), {"b": SPEC}, {"a": SPEC})
    with pytest.raises(ValueError, match=r"per_example returns the shape \(5,\).*reduce_mean\(per_example"):
        losses.require_scalar_loss(per_example, SPEC, SPEC)
    with pytest.raises(ValueError, match=r"cross_entropy cannot take targets float32 \(5,\) .*Cast classes"):
        losses.require_scalar_loss(losses.cross_entropy, tf.TensorSpec([5]), SPEC)
    with pytest.raises(ValueError, match=r"mse cannot take targets float32 \(5, 1\) with outputs"):
        losses.require_scalar_loss(losses.mse, tf.TensorSpec([5, 1]), SPEC)
    with pytest.raises(ValueError, match="nothing returns None, but must return a floating-point scalar"):
        losses.require_scalar_loss(nothing, SPEC, SPEC)


def per_example(targets, outputs):
    return tf.reduce_mean(tf.square(targets - outputs), -1)


def nothing(targets, outputs):
    return None
