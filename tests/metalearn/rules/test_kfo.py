"""KFO: the transform in NumPy, the descent of its matrices by tapes, and meta-gradients by differences."""

import numpy as np
import pytest
import tensorflow as tf

from metalearn import rules

SHAPES = {"kernel": (3, 2), "bias": (2,), "filters": (2, 1, 3, 4), "scale": ()}

RATE = 0.3


def drawn(seed, shapes=None):
    random = np.random.default_rng(seed)
    return {key: tf.constant(random.normal(size=shape)) for key, shape in (shapes or SHAPES).items()}


def varied(structure):
    random = np.random.default_rng(5)
    return tf.nest.map_structure(lambda leaf: leaf + 0.5 * random.normal(size=leaf.shape), structure)


@pytest.mark.parametrize("adapted", [True, False])
def test_it_starts_as_gradient_descent(adapted):
    parameters, gradients = drawn(0), drawn(1)
    rule = rules.kfo(RATE, adapted)
    moved, _ = rule.update(gradients, rule.init(parameters), parameters, rule.learnable(parameters), 0)
    for key, value in moved.items():
        np.testing.assert_allclose(value, parameters[key] - RATE * gradients[key], rtol=0, atol=1e-15)


def test_what_is_learned():
    """A convolution has one matrix for its inputs and one for its window, none for its outputs."""
    learned = rules.kfo(0.1).learnable(drawn(0))
    sizes = {
        key: (len(factors["left"]), len(factors["right"])) for key, factors in learned["factors"].items()
    }
    assert sizes == {"kernel": (3, 2), "bias": (2, 1), "filters": (3, 2), "scale": (1, 1)}
    rate = rules.learned(0.1, per="variable")
    assert set(rules.kfo(rate).learnable(drawn(0))) == {"factors", "learning_rate"}


def test_the_first_step_is_a_product_with_both_matrices():
    """The first update is ``L'L G R'R``, for a convolution for each output, as in NumPy, to 1e-12."""
    parameters, gradients = drawn(0), drawn(1)
    rule = rules.kfo(RATE)
    learned = varied(rule.learnable(parameters))
    moved, _ = rule.update(gradients, rule.init(parameters), parameters, learned, 0)
    for key, gradient in gradients.items():
        left, right = (learned["factors"][key][side].numpy() for side in ("left", "right"))
        left, right, change = left.T @ left, right.T @ right, gradient.numpy()
        if key == "filters":
            change = np.stack(
                [
                    (left @ change[..., out].reshape(-1, 3).T @ right).T.reshape(2, 1, 3)
                    for out in range(change.shape[-1])
                ],
                -1,
            )
        else:
            change = (left @ change.reshape(len(left), len(right)) @ right).reshape(change.shape)
        np.testing.assert_allclose(moved[key], parameters[key] - RATE * change, rtol=1e-12, atol=1e-12)


def loss_of(parameters):
    """A loss that every number takes part in."""
    return tf.add_n(
        [tf.reduce_sum(tf.sin(1.3 * leaf) + 0.1 * tf.square(leaf)) for leaf in parameters.values()]
    )


def gradient_of(parameters):
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        loss = loss_of(parameters)
    return tape.gradient(loss, parameters)


@pytest.mark.parametrize(
    "rate", [RATE, rules.learned(RATE, per="variable", steps=2)], ids=["number", "learned"]
)
def test_the_matrices_descend_on_the_loss_after_the_step_before(rate):
    """Three steps equal those with tapes over ``l(theta_k(L, R))``, as in the published program, to 1e-12."""
    parameters = drawn(0)
    rule, still = rules.kfo(rate), rules.kfo(rate, adapted=False)
    values = rule.learnable(parameters)
    values = {**values, "factors": varied(values["factors"])}
    if "learning_rate" in values:
        values["learning_rate"] = {
            key: leaf * [1.0, 0.6] + place / 50
            for place, (key, leaf) in enumerate(values["learning_rate"].items())
        }
    found, state = parameters, rule.init(parameters)
    expected, factors, before, gradients = parameters, values["factors"], {}, {}
    for step in range(3):
        found, state = rule.update(gradient_of(found), state, found, values, step)
        if step:
            with tf.GradientTape() as tape:
                tape.watch(factors)
                again, _ = still.update(gradients, {}, before, {**values, "factors": factors}, step - 1)
                loss = loss_of(again)
            slopes = tape.gradient(loss, factors)
            factors = {
                key: {
                    side: factor - rate_at(values, key, step) * slopes[key][side]
                    for side, factor in factors[key].items()
                }
                for key in factors
            }
        before, gradients = expected, gradient_of(expected)
        expected, _ = still.update(gradients, {}, expected, {**values, "factors": factors}, step)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-12, atol=1e-12)
        assert np.abs(value - parameters[key]).max() > 1e-2


def rate_at(values, key, step):
    return values["learning_rate"][key][min(step, 1)] if "learning_rate" in values else RATE


def test_rates_of_elements_are_refused():
    with pytest.raises(ValueError, match=r"is not supported by kfo.*choose per='variable'"):
        rules.kfo(rules.learned(0.1, per="element"))
    with pytest.raises(ValueError, match="learning_rate must be a finite number above 0, got 0"):
        rules.kfo(0)


def test_hypergradients(hypergradients, assert_right):
    """Meta-gradients through the descent of the matrices agree between estimators and differences."""
    cases = {"adapted": rules.kfo(0.2), "kept": rules.kfo(rules.learned(0.2), adapted=False)}
    for found in hypergradients(cases, 3).values():
        assert_right(found)
