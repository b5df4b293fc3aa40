"""Properties of every rule that ``metalearn.rules`` exports; a new rule is tested automatically."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from metalearn import rules
from metalearn.testing import check_rule
from metalearn.types import Rule

VALUES = {
    "learning_rate": 2.0**-4,
    "beta_1": 0.875,
    "beta_2": 1 - 2.0**-6,
    "rho": 0.875,
    "momentum": 0.75,
    "epsilon": 2.0**-7,
    "weight_decay": 2.0**-5,
    "initial_accumulator_value": 2.0**-3,
}
"""Exact in float32: Keras rounds its constants to that, also for variables in float64."""


def _signature(factory: Callable) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(factory).parameters)


def _is_factory(exported: object) -> bool:
    """Whether this is a rule that needs no argument, as the wrappers do."""
    return (
        inspect.isclass(exported)
        and hasattr(exported, "update")
        and all(argument.default is not inspect.Parameter.empty for argument in _signature(exported).values())
    )


FACTORIES = {name: getattr(rules, name) for name in rules.__all__ if _is_factory(getattr(rules, name))}

VARIANTS = [(name, {}) for name in FACTORIES] + [
    (name, {option: not argument.default})
    for name, factory in FACTORIES.items()
    for option, argument in _signature(factory).items()
    if isinstance(argument.default, bool)
]


def _label(name: str, options: dict) -> str:
    return "-".join([name, *options])


every_rule = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=[_label(*each) for each in VARIANTS])


KINDS = ("sgd", "momentum", "rmsprop", "adam")

kinds_of_rules = pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(*each, id=_label(*each), marks=[] if _label(*each) in KINDS else pytest.mark.slow)
        for each in VARIANTS
    ],
)
"""Of each kind of state one, and all of them in the slow tests."""


def _hyperparameters(name: str) -> list[str]:
    arguments = _signature(FACTORIES[name]).items()
    return [key for key, argument in arguments if argument.annotation == "Hyperparameter"]


def _numbers(name: str) -> dict[str, float]:
    return {
        key: VALUES.get(key, argument.default)
        for key, argument in _signature(FACTORIES[name]).items()
        if isinstance(argument.default, float)
    }


def _learning(name: str, options: dict, **how: object) -> Rule:
    """Return the rule with everything learned that can be."""
    numbers = _numbers(name)
    learned = {key: rules.learned(numbers[key], **how) for key in _hyperparameters(name)}
    return FACTORIES[name](**{**numbers, **learned, **options})


def _keras(name: str) -> Callable[..., keras.optimizers.Optimizer]:
    known = {
        "momentum": keras.optimizers.SGD,
        "nesterov": functools.partial(keras.optimizers.SGD, nesterov=True),
    }
    same_name = [kind for kind in dir(keras.optimizers) if kind.lower() == name]
    if name not in known and not same_name:
        pytest.skip(f"Keras has no {name}")
    return known[name] if name in known else getattr(keras.optimizers, same_name[0])


def test_the_rules_are_found() -> None:
    assert {"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta"} <= set(FACTORIES)
    assert {"adam", "adamax", "nadam", "adamw"} <= set(FACTORIES)
    assert not {"learned", "clip_by_value", "weight_decay"} & set(FACTORIES)


@every_rule
@pytest.mark.parametrize(("dtype", "is_default"), [("float32", True), ("float64", False)])
def test_equals_keras(name: str, options: dict, dtype: str, is_default: bool) -> None:
    # Keras' Nadam rounds its 0.96 to float32 in one of the two places: see test_nadam.py.
    tolerance = 1e-6 if dtype == "float32" else 1e-7 if name == "nadam" else 1e-12
    numbers = {} if is_default else _numbers(name)
    if is_default and name in ("momentum", "nesterov"):
        numbers = {"momentum": 0.9}  # what these rules are in Keras' SGD, where it is 0 unless given
    random = np.random.default_rng(0)
    shapes = {"a": 3, "b": (2, 2)}
    parameters = {key: tf.constant(random.normal(size=shape), dtype) for key, shape in shapes.items()}
    variables = [keras.Variable(value, dtype=dtype) for value in parameters.values()]
    optimizer = _keras(name)(**numbers, **options)
    rule = FACTORIES[name](**numbers, **options)
    state = rule.init(parameters)
    for step in range(20):
        gradients = {key: random.normal(size=value.shape) for key, value in parameters.items()}
        gradients["a"][0] = 0  # never a gradient
        gradients["a"][1] *= step % 2  # none at first
        gradients = {key: tf.constant(value, dtype) for key, value in gradients.items()}
        optimizer.apply(list(gradients.values()), variables)
        parameters, state = rule.update(gradients, state, parameters, {}, step)
        for value, variable in zip(parameters.values(), variables, strict=True):
            assert value.dtype == dtype
            np.testing.assert_allclose(value, variable, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module", params=["fused", pytest.param("looped", marks=pytest.mark.slow)])
def found(request, hypergradients):
    """Return the hypergradients of all rules: with few steps in Python, with many in a graph loop."""
    learning = {_label(name, options): _learning(name, options) for name, options in VARIANTS}
    if request.param == "fused":
        return hypergradients(learning, 2, ("checkpointed",))
    return hypergradients(learning, 6)


@every_rule
def test_hypergradients(name, options, found, assert_right):
    """Meta-gradients by all hyperparameters and weights agree between estimators and differences.

    One weight has a zero gradient in every step.
    """
    right = found[_label(name, options)]
    assert len(right.differences) == 3 + len(_hyperparameters(name))
    assert_right(right)


@kinds_of_rules
def test_zero_gradients_leave_everything_finite(name: str, options: dict, with_xla) -> None:
    """For zero and denormal gradients in float32, updates and derivatives are finite, also under XLA."""
    defaults = {key: _signature(FACTORIES[name])[key].default for key in _hyperparameters(name)}
    rule = FACTORIES[name](**options, **{key: rules.learned(value) for key, value in defaults.items()})
    parameters = {"a": tf.ones([4])}
    hyperparameters = rule.learnable(parameters)
    gradients = {"a": tf.constant([0.0, 1e-24, 1e-21, 1e-18])}

    def two_steps(gradients, parameters, hyperparameters):
        with tf.GradientTape() as tape:
            tape.watch((gradients, parameters, hyperparameters))
            moved, state = parameters, rule.init(parameters)
            for step in range(2):
                moved, state = rule.update(gradients, state, moved, hyperparameters, step)
        return moved, tape.gradient(moved, (gradients, parameters, hyperparameters))

    for run in (two_steps, with_xla(two_steps)):
        for leaf in tf.nest.flatten(run(gradients, parameters, hyperparameters)):
            assert np.all(np.isfinite(leaf))


@kinds_of_rules
def test_compiled_and_mapped_equals_eager(name: str, options: dict) -> None:
    """Under XLA, mapped over tasks, with a tensor as step, updates equal those in eager mode.

    Values are learned for elements and steps, and there are more steps than values.
    """
    rule = _learning(name, options, per="element", steps=2)
    random = np.random.default_rng(1)
    stacked = {"a": tf.constant(random.normal(size=(3, 2))), "b": tf.constant(random.normal(size=(3, 1, 2)))}
    first = {key: value[0] for key, value in stacked.items()}
    hyperparameters = tf.nest.map_structure(
        lambda leaf: leaf * tf.constant(random.uniform(0.9, 1, leaf.shape)), rule.learnable(first)
    )

    def step_of_one_task(parameters, state, step):
        return rule.update(
            tf.nest.map_structure(tf.sin, parameters), state, parameters, hyperparameters, step
        )

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def compiled(stacked, steps):
        state = tf.vectorized_map(rule.init, stacked)
        _, stacked, _ = tf.while_loop(
            lambda step, *_: step < steps,
            lambda step, *carry: (
                step + 1,
                *tf.vectorized_map(
                    lambda carry: step_of_one_task(*carry, step), tuple(carry), fallback_to_while_loop=False
                ),
            ),
            (tf.constant(0), stacked, state),
        )
        return stacked

    found = compiled(stacked, tf.constant(4))
    for task in range(3):
        parameters = {key: value[task] for key, value in stacked.items()}
        state = rule.init(parameters)
        for step in range(4):
            parameters, state = step_of_one_task(parameters, state, step)
        for key, value in parameters.items():
            np.testing.assert_allclose(found[key][task], value, rtol=1e-12)


@kinds_of_rules
def test_conformance(name: str, options: dict) -> None:
    """The rule passes the conformance check, with all possible hyperparameters learned."""
    parameters = {"kernel": tf.constant([[0.3, -0.7], [1.1, 0.4]]), "scale": tf.constant(-0.6)}
    check_rule(_learning(name, options, per="variable", steps=2), parameters)


@every_rule
def test_nothing_is_learned_unless_asked(name: str, options: dict) -> None:
    assert FACTORIES[name](**options).learnable({"a": tf.ones([2])}) == {}


@pytest.mark.parametrize(
    ("name", "argument"), [(name, argument) for name in FACTORIES for argument in _hyperparameters(name)]
)
def test_arguments_out_of_range_are_named(name: str, argument: str) -> None:
    for value in (float("nan"), float("inf"), -1.0, None, "0.1", True, lambda step: 0.1, rules.learned(-1.0)):
        with pytest.raises(ValueError, match=argument):
            FACTORIES[name](**{argument: value})


@pytest.mark.parametrize("name", FACTORIES)
def test_what_decays_is_below_one(name: str) -> None:
    for argument in {"beta_1", "beta_2", "rho", "momentum"} & set(_hyperparameters(name)):
        with pytest.raises(ValueError, match=rf"{argument}.*in \[0, 1\)"):
            FACTORIES[name](**{argument: 1.0})
