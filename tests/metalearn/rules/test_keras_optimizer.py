"""Rules as Keras optimizers: ``fit`` takes the rule's steps, models are saved with them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from metalearn import rules
from metalearn.nn.names import named_variables

FEATURES, EXAMPLES, BATCH = 3, 40, 8

X = np.random.default_rng(0).normal(size=(EXAMPLES, FEATURES)).astype("float32")
Y = np.tanh(X[:, :1] - X[:, 1:2])


def network():
    """Return a model whose names, automatic ones among them, are prefixed and numbered by Keras."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input([FEATURES]), *layers])


def variables(model):
    return {each.key: each.variable for each in named_variables(model)}


def values_of(rule, model):
    """Return values near the initial ones that a rule has for a model, random where these are 0."""
    random = np.random.default_rng(1)
    parameters = {key: tf.convert_to_tensor(each) for key, each in variables(model).items()}
    return tf.nest.map_structure(
        lambda leaf: leaf + tf.constant(0.02 * random.normal(size=leaf.shape), leaf.dtype),
        rule.learnable(parameters),
    )


def by_the_rule(rule, values, model, epochs):
    """Return the model's parameters after epochs of the rule's own steps."""
    theta = {key: tf.convert_to_tensor(each) for key, each in variables(model).items()}
    first, second = sorted(key for key in theta if key.endswith("kernel"))
    state = rule.init(theta)

    @tf.function(autograph=False)
    def stepped(theta, state, step, x, y):
        with tf.GradientTape() as tape:
            tape.watch(theta)
            hidden = tf.tanh(x @ theta[first] + theta[first.replace("kernel", "bias")])
            outputs = hidden @ theta[second] + theta[second.replace("kernel", "bias")]
            loss = tf.reduce_mean(tf.square(y - outputs))
        return rule.update(tape.gradient(loss, theta), state, theta, values, step)

    for step in range(epochs * EXAMPLES // BATCH):
        rows = slice(step * BATCH % EXAMPLES, step * BATCH % EXAMPLES + BATCH)
        theta, state = stepped(theta, state, tf.constant(step), tf.constant(X[rows]), tf.constant(Y[rows]))
    return theta


WRAPPED = rules.clip_by_global_norm(rules.weight_decay(rules.adam(0.01), 0.001), 0.5)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(WRAPPED, marks=pytest.mark.slow),
        pytest.param(rules.learned_mlp(0.01, hidden=(8,)), marks=pytest.mark.slow),
        rules.momentum(rules.learned(0.1)),
        pytest.param(rules.sgd(0.1), marks=pytest.mark.slow),
        pytest.param(
            rules.adam(keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)), marks=pytest.mark.slow
        ),
        pytest.param(rules.adam(rules.learned(0.01, per="variable", steps=3)), marks=pytest.mark.slow),
        pytest.param(rules.alfa(0.1), marks=pytest.mark.slow),
        pytest.param(rules.learned_rnn(0.01, units=4), marks=pytest.mark.slow),
        pytest.param(rules.hypergradient(0.1, 0.001), marks=pytest.mark.slow),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_a_hundred_steps_of_fit_are_those_of_the_rule(rule):
    """After 100 steps of ``fit``, parameters equal those after steps of the rule, to 1e-6."""
    model = network()
    values = values_of(rule, model)
    expected = by_the_rule(rule, values, model, 20)
    before = {key: each.numpy() for key, each in variables(model).items()}
    model.compile(rules.to_keras(rule, values, model), "mse", jit_compile=False)
    model.fit(X, Y, BATCH, 20, verbose=0, shuffle=False)
    assert int(model.optimizer.iterations) == 100
    for key, variable in variables(model).items():
        np.testing.assert_allclose(variable, expected[key], rtol=0, atol=1e-6, err_msg=key)
        assert np.abs(variable.numpy() - before[key]).max() > 1e-3


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_it_is_saved_with_a_model(tmp_path):
    """A model loaded from a file has an equal optimizer, and trains with the same bits."""
    model, rule = network(), rules.momentum(rules.learned(0.01, positive=True))
    model.compile(rules.to_keras(rule, values_of(rule, model), name="mine"), "mse", jit_compile=False)
    model.fit(X, Y, BATCH, 1, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for each in (model, loaded):
        each.fit(X, Y, BATCH, 1, verbose=0, shuffle=False)
    for one, other in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_configurations_hold_wrapped_rules_and_schedules():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)
    rule = rules.clip_by_value(
        rules.adam(schedule, beta_1=rules.learned(0.9, within=(0, 1))), np.float32(0.5)
    )
    optimizer = rules.to_keras(rule, rule.learnable({"a": tf.ones([2])}))
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()


class Own:
    """A user-defined rule."""

    def learnable(self, parameters):
        return {}

    def init(self, parameters):
        return {}

    def update(self, gradients, state, parameters, values, step):
        return {key: leaf - gradients[key] for key, leaf in parameters.items()}, state


def test_what_cannot_be_is_said():
    learning = rules.sgd(rules.learned(0.1))
    with pytest.raises(ValueError, match=r"learns \['learning_rate'\], but values have \[\]"):
        rules.to_keras(learning)
    with pytest.raises(ValueError, match="learns nothing, but values have"):
        rules.to_keras(rules.sgd(0.1), {"learning_rate": 0.1})
    with pytest.raises(ValueError, match="there is no rule 'sgdd'"):
        rules.to_keras("sgdd")
    with pytest.raises(ValueError, match="the rate of this optimizer is that of sgd"):
        rules.to_keras("sgd").learning_rate = 0.1
    with pytest.raises(ValueError, match="has no configuration that could be stored"):
        rules.to_keras(Own()).get_config()


def test_variables_that_do_not_fit_are_refused():
    model, per_variable = network(), rules.sgd(rules.learned(0.1, per="variable"))
    weights = model.trainable_variables
    values = values_of(per_variable, model)
    gradients = [tf.zeros(each.shape) for each in weights]
    with pytest.raises(ValueError, match="learned values of sgd differ by variable: pass the model"):
        rules.to_keras(per_variable, values).apply(gradients, weights)
    other = keras.Sequential([keras.Input([FEATURES]), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="given a model with 4 trainable variables"):
        rules.to_keras(per_variable, values, model).build(other.trainable_variables)
    with pytest.raises(ValueError, match="values do not fit the variables"):
        rules.to_keras(per_variable, values, other).build(other.trainable_variables)
    optimizer = rules.to_keras("sgd")
    with pytest.raises(ValueError, match=f"{weights[0].path} has no gradient"):
        optimizer.apply([None, *gradients[1:]], weights)
    with pytest.raises(ValueError, match="not those of this optimizer's first call"):
        optimizer.apply(gradients[1:], weights[1:])
    with (
        tf.distribute.OneDeviceStrategy("/cpu:0").scope(),
        pytest.raises(ValueError, match=r"does not support tf\.distribute"),
    ):
        rules.to_keras("sgd").build(weights)
