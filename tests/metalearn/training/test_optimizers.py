"""One optimizer for all of phi, or one for each part; against the updates written out in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

PHI = {"a": {"x": np.array([1.0, -2.0]), "y": np.array(0.5)}, "b": (np.array([0.3, 0.7, -1.1]),)}
STEPS = 4


class Nothing:
    """Tasks without data."""

    def sample(self, seed, tasks):
        """Return one task without a leaf."""
        return ml.Task((), ())


def problem():
    """Return a problem whose meta-loss is ``sum_i c_i phi_i^2 / 2``, c = 1 for a and 3 for b."""
    return ml.BilevelProblem(
        start=lambda phi, task: {"t": tf.zeros([], tf.float64)},
        inner_loss=lambda theta, phi, batch, model: tf.square(theta["t"]),
        outer_loss=lambda theta, phi, task, model: (
            theta["t"]
            + tf.reduce_sum(phi["a"]["x"] ** 2) / 2
            + phi["a"]["y"] ** 2 / 2
            + 3 * tf.reduce_sum(phi["b"][0] ** 2) / 2
        ),
        rule=ml.rules.sgd(0.1),
        steps=1,
    )


def trainer(optimizer, start=PHI):
    """Return a trainer of that problem."""
    learner = ml.BilevelLearner(problem(), start=tf.nest.map_structure(tf.constant, start))
    options = {"jit_compile": False, "check_derivatives": False}
    return ml.MetaTrainer(learner, Nothing(), optimizer, 1, **options)


def momentum(value, curvature, rate, decay):
    """Return a value after steps of ``v <- decay v - rate g; value <- value + v`` on ``c value^2 / 2``."""
    velocity = np.zeros_like(value)
    for _ in range(STEPS):
        velocity = decay * velocity - rate * curvature * value
        value = value + velocity
    return value


def test_each_part_has_its_own():
    """With two optimizers, each part follows its own recursion, to 1e-12.

    Keras holds rates in float32, where these are exact.
    """
    optimizers = {"b": keras.optimizers.SGD(0.125, momentum=0.5), "a": keras.optimizers.SGD(0.25)}
    training = trainer(optimizers)
    history = training.run(STEPS)
    meta = training.meta
    for key in ("x", "y"):
        expected = momentum(PHI["a"][key], 1.0, 0.25, 0.0)
        np.testing.assert_allclose(meta["a"][key], expected, rtol=0, atol=1e-12)
    expected = momentum(PHI["b"][0], 3.0, 0.125, 0.5)
    np.testing.assert_allclose(meta["b"][0], expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(history["learning_rate/a"], np.full(STEPS, 0.25))
    np.testing.assert_array_equal(history["learning_rate/b"], np.full(STEPS, 0.125))
    assert "learning_rate" not in history
    np.testing.assert_allclose(
        history["meta_gradient/norm/b/0"][0], 3 * np.linalg.norm(PHI["b"][0]), rtol=1e-6
    )


def test_the_state_of_both_is_kept():
    """Two iterations, and two in a new trainer from the state, have the bits of four."""

    def make():
        return trainer({"a": keras.optimizers.Adam(0.1), "b": keras.optimizers.SGD(0.05, momentum=0.9)})

    first, second, whole = make(), make(), make()
    first.run(2)
    state = first.state()
    assert any(name.startswith("optimizer/a/") for name in state)
    assert any(name.startswith("optimizer/b/") for name in state)
    second.restore(state)
    second.run(2)
    whole.run(4)
    for name, value in whole.state().items():
        np.testing.assert_array_equal(second.state()[name], value, err_msg=name)


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        (("a",), "optimizer has the parts a, phi has a, b: b is in one"),
        (("a", "b", "c"), "optimizer has the parts a, b, c, phi has a, b: c is in one"),
        ((), "optimizer has the parts none, phi has a, b: a, b is in one"),
    ],
)
def test_missing_and_unknown_parts_are_refused(parts, named):
    """The message names all missing or unknown parts, and the remedy."""
    with pytest.raises(ValueError, match=f"{named} .*; give one optimizer for each part, or a single one"):
        trainer({part: keras.optimizers.SGD(0.1) for part in parts})


def test_parts_of_what_has_none_are_refused():
    """Optimizers by part are an error if phi is a single tensor."""
    tensor = ml.BilevelProblem(
        start=lambda phi, task: {"t": phi},
        inner_loss=lambda theta, phi, batch, model: tf.square(theta["t"]),
        outer_loss=lambda theta, phi, task, model: theta["t"],
        rule=ml.rules.sgd(0.1),
        steps=1,
    )
    learner = ml.BilevelLearner(tensor, start=tf.constant(1.0))
    with pytest.raises(ValueError, match="phi has no named parts: a is in one"):
        ml.MetaTrainer(learner, Nothing(), {"a": keras.optimizers.SGD(0.1)}, 1)


def test_one_optimizer_for_two_parts_is_refused():
    """One optimizer for two parts is an error, because it has the state of one part."""
    shared = keras.optimizers.SGD(0.1)
    with pytest.raises(ValueError, match="state of another training, or of another part of phi: make a new"):
        trainer({"a": shared, "b": shared})


def test_what_is_no_optimizer_is_refused():
    """The message names the value and a valid example."""
    with pytest.raises(ValueError, match=r"must be a Keras optimizer such as .*, got 0.1"):
        trainer({"a": keras.optimizers.SGD(0.1), "b": 0.1})
    with pytest.raises(ValueError, match=r"learning_rate must be a finite number above 0, got -1.0"):
        trainer(keras.optimizers.SGD(-1.0))


def test_a_part_without_leaves_needs_none():
    """A part without leaves needs no optimizer."""
    training = trainer({"a": keras.optimizers.SGD(0.1), "b": keras.optimizers.SGD(0.1)}, {**PHI, "rule": {}})
    training.run(1)
    np.testing.assert_allclose(training.meta["a"]["y"], 0.45, rtol=1e-7)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (keras.optimizers.SGD(0.1, loss_scale_factor=8.0), "SGD divides .*: omit loss_scale_factor"),
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)), "give its inner optimizer"),
        (keras.optimizers.SGD(0.1, use_ema=True), "use_ema=True but no .*: set ema_overwrite_frequency"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(optimizer, message):
    """No loss is scaled, so updates would be too small; and nothing would use the moving average."""
    with pytest.raises(ValueError, match=message):
        trainer(optimizer)


def test_a_moving_average_replaces_phi():
    """After every second iteration phi is the average ``m <- d m + (1 - d) phi``, from phi_1 on."""
    settings = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}
    training = trainer(keras.optimizers.SGD(0.25, **settings))
    training.run(3)
    first = 0.75 * PHI["a"]["y"]
    averaged = 0.5 * first + 0.5 * 0.75 * first
    np.testing.assert_allclose(training.meta["a"]["y"], 0.75 * averaged, rtol=1e-12)


def test_gradients_are_accumulated():
    """Two iterations make one update, with the mean of their gradients."""
    training = trainer(keras.optimizers.SGD(0.25, gradient_accumulation_steps=2))
    training.run(3)
    np.testing.assert_allclose(training.meta["a"]["y"], 0.75 * PHI["a"]["y"], rtol=1e-12)


def test_a_rule_is_an_outer_optimizer():
    """A rule as a Keras optimizer, which has no setting learning_rate, moves phi as Keras' optimizer does."""
    rule, of_keras = (
        trainer(each) for each in (ml.rules.to_keras(ml.rules.adam(0.125)), keras.optimizers.Adam(0.125))
    )
    for one in (rule, of_keras):
        one.run(STEPS)
    np.testing.assert_allclose(rule.meta["a"]["x"], of_keras.meta["a"]["x"], rtol=1e-5)
