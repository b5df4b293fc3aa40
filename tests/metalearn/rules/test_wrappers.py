"""Wrappers of rules: clipping and weight decay."""

import inspect
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.rules import learned

WRAPPERS = {
    name: getattr(ml.rules, name)
    for name in ml.rules.__all__
    if len(arguments := list(inspect.signature(getattr(ml.rules, name)).parameters)) == 2
    and arguments[0] == "rule"
}
"""Those around a rule with one number of their own."""

every_wrapper = pytest.mark.parametrize("name", WRAPPERS)


def test_the_wrappers_are_found():
    assert {"clip_by_value", "clip_by_global_norm", "weight_decay"} <= set(WRAPPERS)


@pytest.mark.parametrize(
    ("rule", "optimizer"),
    [
        (ml.rules.clip_by_value(ml.rules.momentum(0.1), 0.5), keras.optimizers.SGD(0.1, 0.9, clipvalue=0.5)),
        (
            ml.rules.clip_by_global_norm(ml.rules.momentum(0.1), 1.5),
            keras.optimizers.SGD(0.1, 0.9, global_clipnorm=1.5),
        ),
        (
            ml.rules.weight_decay(ml.rules.momentum(0.1), 0.1 * 0.2),
            keras.optimizers.SGD(0.1, 0.9, weight_decay=0.2),
        ),
        (ml.rules.weight_decay(ml.rules.adam(0.1), 0.1 * 0.2), keras.optimizers.AdamW(0.1, 0.2)),
    ],
    ids=["clip_by_value", "clip_by_global_norm", "weight_decay", "adamw"],
)
def test_equals_keras(rule, optimizer):
    random = np.random.default_rng(0)
    parameters = {"a": tf.constant([1.0, -2.0]), "b": tf.constant([[3.0]])}
    variables = [keras.Variable(value) for value in parameters.values()]
    state = rule.init(parameters)
    for step in range(10):
        gradients = {
            key: tf.constant(random.normal(size=value.shape), "float32") for key, value in parameters.items()
        }
        optimizer.apply(list(gradients.values()), variables)
        parameters, state = rule.update(gradients, state, parameters, {}, step)
        for value, variable in zip(parameters.values(), variables, strict=True):
            np.testing.assert_allclose(value, variable, rtol=1e-6, atol=1e-6)


def test_hypergradients(hypergradients, assert_right):
    """Meta-gradients by the limits and the rule's hyperparameters agree, with and without clipping."""
    inner = ml.rules.momentum(learned(0.1), learned(0.8))
    rules = {
        "value": ml.rules.clip_by_value(inner, learned(0.2, per="element", steps=2)),
        "norm": ml.rules.clip_by_global_norm(inner, learned(0.3, positive=True)),
        "norm_unreached": ml.rules.clip_by_global_norm(inner, learned(50.0)),
        "all": ml.rules.weight_decay(
            ml.rules.clip_by_global_norm(ml.rules.clip_by_value(inner, learned(0.3)), learned(0.35)),
            learned(0.05, per="variable", steps=2),
        ),
    }
    found = hypergradients(rules, 3, ("checkpointed",))
    for right in found.values():
        assert_right(right)
    assert found["norm_unreached"].exact[0][-3] == 0
    assert np.all(found["norm"].exact[0] != 0)


def test_the_global_norm_is_over_all_variables():
    parameters = {"a": tf.zeros([1], tf.float64), "b": tf.zeros([1], tf.float64)}
    gradients = {"a": tf.constant([3.0], tf.float64), "b": tf.constant([4.0], tf.float64)}
    rule = ml.rules.clip_by_global_norm(ml.rules.sgd(1.0), 2.0)
    moved, _ = rule.update(gradients, rule.init(parameters), parameters, {}, 0)
    np.testing.assert_allclose([moved["a"][0], moved["b"][0]], [-3 * 2 / 5, -4 * 2 / 5], rtol=1e-15)


def test_each_task_is_clipped_by_its_own_norm(with_xla):
    rule = ml.rules.clip_by_global_norm(ml.rules.sgd(1.0), 1.0)

    @with_xla
    def update(gradients):
        return tf.vectorized_map(
            lambda gradients: rule.update(gradients, (), {"a": tf.zeros([2])}, {}, 0)[0], gradients
        )

    moved = update({"a": tf.constant([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])})["a"]
    np.testing.assert_allclose(moved, [[-0.6, -0.8], [-0.3, -0.4], [0, 0]], rtol=1e-6)


def test_zero_gradients_have_a_derivative():
    """At a zero gradient, clipping has the derivative of the identity, and 0 by its limit."""
    rule = ml.rules.clip_by_global_norm(ml.rules.sgd(1.0), learned(0.7))
    parameters = {"a": tf.ones([2])}
    zeros, hyperparameters = {"a": tf.zeros([2])}, rule.learnable(parameters)
    with tf.GradientTape() as tape:
        tape.watch((zeros, hyperparameters))
        moved, _ = rule.update(zeros, rule.init(parameters), parameters, hyperparameters, 0)
    to_gradients, to_limit = tape.gradient(moved, (zeros, hyperparameters))
    np.testing.assert_array_equal(to_gradients["a"], [-1, -1])
    assert to_limit["clip_norm"] == 0


@pytest.mark.parametrize("bad", [np.inf, np.nan, 1e30])
def test_a_norm_that_is_not_finite_is_not_hidden(bad, with_xla):
    """A norm that is infinite or NaN, also by overflow, makes all parameters NaN."""
    rule = ml.rules.clip_by_global_norm(ml.rules.sgd(1.0), 1.0)
    gradients = parameters = {"a": tf.constant([bad, 1.0]), "b": tf.constant([1.0])}
    for run in (rule.update, with_xla(rule.update)):
        moved, _ = run(gradients, (), parameters, {}, 0)
        assert all(np.all(np.isnan(value)) for value in moved.values())


@every_wrapper
def test_what_the_rule_learns_is_learned_still(name):
    inner = ml.rules.adam(learned(0.1, per="variable"), beta_1=learned(0.9))
    parameters = {"a": tf.ones([2])}
    constant = WRAPPERS[name](inner, 0.5)
    assert constant.learnable(parameters).keys() == {"learning_rate", "beta_1"}
    learning = WRAPPERS[name](inner, learned(0.5))
    twice = WRAPPERS[name](learning, learned(0.25))
    (own,) = learning.learnable(parameters).keys() - {"learning_rate", "beta_1"}
    hyperparameters = twice.learnable(parameters)
    assert hyperparameters.keys() == {"learning_rate", "beta_1", own, f"{own}_2"}
    assert (hyperparameters[own].numpy(), hyperparameters[f"{own}_2"].numpy()) == (0.5, 0.25)
    for rule, given in ((learning, {own: 0.5}), (twice, {own: 0.5, f"{own}_2": 0.25})):
        assert (
            given.items()
            <= {
                key: float(tf.nest.flatten(leaf)[0]) for key, leaf in rule.learnable(parameters).items()
            }.items()
        )


@every_wrapper
def test_a_rule_from_elsewhere_gets_what_it_gave(name):
    """A user's rule receives its own hyperparameters, of any structure, from a wrapper."""
    seen = []

    def update(gradients, state, parameters, hyperparameters, step):
        seen.append(hyperparameters)
        return parameters, state

    for structure, number in (((1.0, {"b": 2.0}), 0.5), ({"b": (3.0,)}, learned(0.5))):
        stranger = SimpleNamespace(
            learnable=lambda _, given=structure: given, init=lambda _: (), update=update
        )
        rule = WRAPPERS[name](stranger, number)
        assert rule.descent_rates({}, {}, 0) is None
        parameters = {"a": tf.ones([2])}
        rule.update(parameters, (), parameters, rule.learnable(parameters), 0)
        assert seen[-1] == structure


def test_decayed_adamw_learns_both_decays():
    rule = ml.rules.weight_decay(ml.rules.adamw(weight_decay=learned(0.1)), learned(0.2))
    assert rule.learnable({"a": tf.ones([2])}).keys() == {"weight_decay", "weight_decay_2"}


def test_settings_have_the_names_of_what_is_learned():
    """A constant setting gets another name if a learned hyperparameter has the same name."""
    inner = ml.rules.clip_by_value(ml.rules.sgd(0.1), 0.7)
    middle = ml.rules.clip_by_value(inner, learned(0.6))
    outer = ml.rules.clip_by_value(middle, learned(0.5))
    assert inner.settings() == {"learning_rate": 0.1, "clip_value": 0.7}
    assert middle.settings() == {"learning_rate": 0.1, "clip_value_2": 0.7, "clip_value": learned(0.6)}
    assert outer.settings() == {
        "learning_rate": 0.1,
        "clip_value_3": 0.7,
        "clip_value": learned(0.6),
        "clip_value_2": learned(0.5),
    }
    constant = ml.rules.clip_by_value(middle, 0.4)
    assert constant.settings() == {**middle.settings(), "clip_value_3": 0.4}
    for rule in (middle, outer, constant):
        of_learned = {key for key, value in rule.settings().items() if isinstance(value, ml.rules.Learned)}
        assert of_learned == set(rule.learnable({"a": tf.ones([2])}))


def test_around_a_rule_that_learns_a_network():
    """A wrapper of a rule that learns a network adds its limit; rules may be given by name."""
    rule = ml.rules.clip_by_value(ml.rules.alfa(0.1), learned(0.5))
    assert set(rule.learnable({"a": tf.ones([2])})) == {"generator", "clip_value"}
    assert ml.rules.weight_decay("sgd", 0.1) == ml.rules.weight_decay(ml.rules.sgd(), 0.1)


@every_wrapper
def test_bad_arguments_are_named(name):
    argument = list(inspect.signature(WRAPPERS[name]).parameters)[1]
    for value in (float("nan"), float("inf"), -1.0, None, "1", True, learned(-1.0)):
        with pytest.raises(ValueError, match=argument):
            WRAPPERS[name](ml.rules.sgd(), value)
    with pytest.raises(ValueError, match=r"rule must be a metalearn rule, as rules.sgd\(\) returns"):
        WRAPPERS[name](ml.rules.sgd, 0.5)


@pytest.mark.parametrize("name", ["clip_by_value", "clip_by_global_norm"])
def test_a_limit_of_zero_is_refused(name):
    with pytest.raises(ValueError, match="must be a finite number above 0, got 0"):
        WRAPPERS[name](ml.rules.sgd(), 0)


@pytest.mark.parametrize("per", ["variable", "element"])
def test_a_global_norm_has_one_limit(per):
    with pytest.raises(ValueError, match=f"limit=learned.per='{per}'.*per='scalar'"):
        ml.rules.clip_by_global_norm(ml.rules.sgd(), learned(1.0, per=per))
