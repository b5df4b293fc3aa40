"""Hyperparameters that are learned, or follow a schedule."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.problems.bilevel import BilevelProblem
from metalearn.rules import learned
from metalearn.types import Batch, Task

CURVATURE, PULL = np.array([1.0, 2.0, 4.0]), np.ones(3)
TARGET, START = np.array([0.3, -0.5, 0.9]), np.array([0.5, 0.1, -0.2])


def quadratic_gradient(rule, steps=1):
    """Return the meta-gradient of the rule's hyperparameters on the quadratic of the design's section 6.

    Inner loss 0.5 p'Hp - b'p, outer loss 0.5 p'p - q'p; p is two variables.
    """

    def joined(parameters):
        return tf.concat([parameters["a"], parameters["b"]], 0)

    problem = BilevelProblem(
        start=lambda meta, task: meta["parameters"],
        inner_loss=lambda p, meta, *_: tf.reduce_sum(CURVATURE * joined(p) ** 2 / 2 - PULL * joined(p)),
        outer_loss=lambda p, meta, *_: tf.reduce_sum(joined(p) ** 2 / 2 - TARGET * joined(p)),
        rule=rule,
        steps=steps,
    )
    parameters = {"a": tf.constant(START[:2]), "b": tf.constant(START[2:])}
    empty = Batch(tf.zeros([1, 1], tf.float64), tf.zeros([1, 1], tf.float64))
    meta = {"parameters": parameters, "rule": rule.learnable(parameters)}
    return ml.estimators.checkpointed()(problem, meta, Task(empty, empty))[0].gradient["rule"]


def expected_per_element():
    """Return dL/d(rate of each element) after one step at rate 0.1: -(outer gradient) (inner gradient)."""
    inner = CURVATURE * START - PULL
    return -(START - 0.1 * inner - TARGET) * inner


def test_scalar_rate_has_the_closed_form():
    found = quadratic_gradient(ml.rules.sgd(learned(0.1)))
    np.testing.assert_allclose(found["learning_rate"], expected_per_element().sum(), rtol=1e-14)


def test_rate_per_variable_has_the_closed_form():
    found = quadratic_gradient(ml.rules.sgd(learned(0.1, per="variable")))["learning_rate"]
    np.testing.assert_allclose(found["a"], expected_per_element()[:2].sum(), rtol=1e-14)
    np.testing.assert_allclose(found["b"], expected_per_element()[2], rtol=1e-14)


def test_rate_per_element_has_the_closed_form():
    found = quadratic_gradient(ml.rules.sgd(learned(0.1, per="element")))["learning_rate"]
    np.testing.assert_allclose(found["a"], expected_per_element()[:2], rtol=1e-14)
    np.testing.assert_allclose(found["b"], expected_per_element()[2:], rtol=1e-14)


def test_positive_rate_has_the_closed_form():
    """The derivative by the logarithm of a rate is the rate times the derivative by the rate."""
    found = quadratic_gradient(ml.rules.sgd(learned(0.1, positive=True)))
    np.testing.assert_allclose(found["learning_rate"], 0.1 * expected_per_element().sum(), rtol=1e-14)


def test_rate_within_a_range_has_the_closed_form():
    """The derivative by the logit h of a rate is ``(v - low) (high - v)

    (high - low)`` times that by v.
    """
    found = quadratic_gradient(ml.rules.sgd(learned(0.1, within=(0.04, 0.2))))
    slope = (0.1 - 0.04) * (0.2 - 0.1) / (0.2 - 0.04)
    np.testing.assert_allclose(found["learning_rate"], slope * expected_per_element().sum(), rtol=1e-13)


def test_values_within_a_range():
    """Start and value of a hyperparameter within a range are NumPy's logit and its inverse, to 1e-14."""
    value = learned(0.9, within=[0, 1])
    assert value == learned(0.9, within=(0.0, 1.0))
    raw = value.start({"a": tf.zeros([1], tf.float64)})
    np.testing.assert_allclose(raw, np.log(0.9 / 0.1), rtol=1e-14)
    np.testing.assert_allclose(value.value(raw), 0.9, rtol=1e-14)
    shifted = learned(-1.5, within=(-2, 1))
    h = np.array([-3.0, 0.0, 2.5])
    np.testing.assert_allclose(shifted.value(tf.constant(h)), -2 + 3 / (1 + np.exp(-h)), rtol=1e-14)
    for each in (value, shifted, learned(0.3, positive=True), learned(0.3)):
        np.testing.assert_allclose(each.value(tf.constant(each.raw(0.7), tf.float64)), 0.7, rtol=1e-14)


def test_a_range_keeps_a_decay_rate_where_it_has_to_be():
    """A start outside of the valid range is an error that recommends ``within`` or ``positive``."""
    with pytest.raises(ValueError, match=r"beta_1=learned.* in \[0, 1\), got 1.0; .*within=\(0, 1\)"):
        ml.rules.adam(beta_1=learned(1.0))
    with pytest.raises(ValueError, match=r"learning_rate=learned.* above 0, got -1; .*positive=True"):
        ml.rules.sgd(learned(-1))


def test_rate_per_step_has_the_closed_form():
    """With one rate for each step, derivatives equal the closed form; that of an unused rate is 0."""
    found = quadratic_gradient(ml.rules.sgd(learned(0.1, steps=3)), steps=2)["learning_rate"]
    first = CURVATURE * START - PULL
    middle = START - 0.1 * first
    second = CURVATURE * middle - PULL
    outer = middle - 0.1 * second - TARGET
    expected = [-(outer * (1 - 0.1 * CURVATURE) * first).sum(), -(outer * second).sum(), 0]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_hypergradients(hypergradients, assert_right):
    """For every kind of learned hyperparameter, estimators and finite differences agree."""
    rules = {
        "element": ml.rules.nadam(learned(0.1, per="element"), learned(0.8, per="element"), epsilon=1e-2),
        "steps": ml.rules.rmsprop(learned(0.05, steps=2), learned(0.8, steps=4), epsilon=1e-2),
        "positive": ml.rules.sgd(learned(0.1, per="element", steps=2, positive=True)),
        "within": ml.rules.momentum(0.1, learned(0.8, per="variable", steps=2, within=(0, 1))),
        "schedule": ml.rules.momentum(
            keras.optimizers.schedules.ExponentialDecay(0.125, 2, 0.5), learned(0.8, per="variable", steps=3)
        ),
    }
    for found in hypergradients(rules, 6, ("checkpointed",)).values():
        assert_right(found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initial_values(dtype):
    parameters = {"layer/kernel": tf.ones([2, 3], dtype), "layer/bias": tf.ones([3], dtype)}

    def initial(**how):
        return ml.rules.sgd(learned(0.5, **how)).learnable(parameters)["learning_rate"]

    for steps, axis in ((None, ()), (4, (4,))):
        for positive, number in ((False, 0.5), (True, math.log(0.5))):
            scalar = initial(steps=steps, positive=positive)
            per_variable = initial(steps=steps, positive=positive, per="variable")
            per_element = initial(steps=steps, positive=positive, per="element")
            assert list(per_variable) == list(per_element) == ["layer/kernel", "layer/bias"]
            assert scalar.shape == per_variable["layer/bias"].shape == axis
            assert per_element["layer/kernel"].shape == (*axis, 2, 3)
            for leaf in tf.nest.flatten([scalar, per_variable, per_element]):
                assert leaf.dtype == dtype
                np.testing.assert_allclose(leaf, np.full(leaf.shape, number), rtol=1e-7)


def test_names_in_meta():
    model = ml.models.mlp(input_size=1, hidden=(2,), output_size=1)
    rule = ml.rules.adam(learned(0.1, per="variable"), beta_1=learned(0.9))
    meta = ml.MetaLearner(model, loss=ml.losses.mse, rule=rule).initialize(seed=0)
    names = ml.derivatives.names({"rule": meta["rule"]})
    assert {"rule/beta_1", "rule/learning_rate/hidden_0/kernel", "rule/learning_rate/output/bias"} <= set(
        names
    )
    assert len(names) == 5


@pytest.mark.parametrize("as_tensor", [False, True])
def test_later_steps_use_the_last_value(as_tensor):
    rule = ml.rules.sgd(learned(1.0, steps=3))
    parameters = {"a": tf.zeros([1])}
    rates = {"learning_rate": tf.constant([1.0, 2.0, 3.0])}
    for step, expected in ((0, 1), (1, 2), (2, 3), (3, 3), (50, 3)):
        now = tf.constant(step) if as_tensor else step
        moved, _ = rule.update({"a": tf.ones([1])}, rule.init(parameters), parameters, rates, now)
        np.testing.assert_allclose(moved["a"], [-expected], rtol=1e-7)


def test_constants_keep_double_precision():
    parameters = {"a": tf.constant([1.0], tf.float64)}
    rule = ml.rules.adam(0.1, epsilon=1e-300)
    moved, _ = rule.update(parameters, rule.init(parameters), parameters, {}, 0)
    np.testing.assert_allclose(moved["a"], [0.9], rtol=1e-15)


SCHEDULES = keras.optimizers.schedules


@pytest.mark.parametrize(
    "schedule",
    [
        SCHEDULES.ExponentialDecay(0.5, 3, 0.7, staircase=True),
        SCHEDULES.PiecewiseConstantDecay([1, 4], [0.5, 0.25, 0.125]),
        SCHEDULES.PolynomialDecay(0.5, 4, cycle=True),
        SCHEDULES.InverseTimeDecay(0.5, 2, 0.7),
        SCHEDULES.CosineDecay(0.1, 4, warmup_target=0.5, warmup_steps=2),
        SCHEDULES.CosineDecayRestarts(0.5, 3),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_schedules_equal_keras(schedule, with_xla):
    """Steps with a schedule equal Keras', eagerly and under XLA, mapped over tasks, to 1e-6."""
    rule = ml.rules.momentum(schedule, 0.5)
    optimizer = keras.optimizers.SGD(schedule, 0.5)
    variable = keras.Variable([1.0, 2.0])
    start = gradients = {"a": tf.constant([[1.0, 2.0], [-1.0, 1.0]])}

    @with_xla
    def in_graph(steps):
        def step_of_all(step, parameters, state):
            return step + 1, *tf.vectorized_map(
                lambda given: rule.update(given[0], given[1], given[2], {}, step),
                (gradients, state, parameters),
                fallback_to_while_loop=False,
            )

        begun = (tf.constant(0), start, tf.vectorized_map(rule.init, start))
        return tf.while_loop(lambda step, *_: step < steps, step_of_all, begun)[1]

    parameters = {"a": start["a"][0]}
    state = rule.init(parameters)
    for step in range(7):
        optimizer.apply([gradients["a"][0]], [variable])
        parameters, state = rule.update({"a": gradients["a"][0]}, state, parameters, {}, step)
        np.testing.assert_allclose(parameters["a"], variable, rtol=1e-6)
    np.testing.assert_allclose(in_graph(tf.constant(7))["a"][0], variable, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initial": math.nan}, "initial must be a finite number"),
        ({"initial": "0.1"}, "initial must be a finite number"),
        ({"initial": 0.1, "per": "layer"}, "per must be one of scalar, variable, element, got 'layer'"),
        ({"initial": 0.1, "per": ["scalar"]}, "per must be one of"),
        ({"initial": 0.1, "steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"initial": 0.1, "steps": 2.0}, "steps must be an integer"),
        ({"initial": 0.0, "positive": True}, "initial .* above 0, got 0"),
        ({"initial": -1, "positive": True}, "initial .* above 0, got -1"),
        ({"initial": 0.5, "within": 1.0}, "within must be a pair of finite numbers"),
        ({"initial": 0.5, "within": (0, 1, 2)}, "within must be a pair of finite numbers"),
        ({"initial": 0.5, "within": (0, math.inf)}, "within must be a pair of finite numbers"),
        ({"initial": 0.5, "within": (1, 0)}, "within is the wrong way round"),
        ({"initial": 0.5, "within": (0.5, 0.5)}, "within must be .* low below high, got"),
        ({"initial": 0, "within": (0, 1)}, r"initial must lie strictly inside within=\(0, 1\).*got 0"),
        ({"initial": 1.5, "within": (0, 1)}, "initial must lie strictly inside .* got 1.5"),
        ({"initial": 0.5, "within": (0, 1), "positive": True}, "positive=True and within=.* exclude each"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        learned(**arguments)


def test_missing_hyperparameters_are_named():
    rule, parameters = ml.rules.sgd(learned(0.1)), {"a": tf.ones([1])}
    with pytest.raises(ValueError, match=r"learning_rate is learned.*rule.learnable\(parameters\)"):
        rule.update(parameters, rule.init(parameters), parameters, {}, 0)
