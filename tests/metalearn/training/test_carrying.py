"""Inner loops that are carried from iteration to iteration of a training."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from tests.metalearn.tracking import DECAY, W0, Tracking, one, phi
from tests.often import mostly_slow

OUTER_RATE = 0.25
"""Keras holds rates in float32, where this one is exact."""

LEAVES = {
    "w": "carried/inner/parameters/w",
    "momentum": "carried/inner/rule/momentum/w",
    "velocity": "carried/inner/rule/velocity/w",
    "mean": "carried/inner/model/mean",
    "calls": "carried/inner/model/calls",
}


@dataclasses.dataclass(frozen=True)
class Same:
    """The same tasks in every iteration."""

    tasks: ml.Task
    constant = True

    def sample(self, seed, tasks):
        """Return them, as often as they are asked for."""
        count = tf.nest.flatten(self.tasks)[0].shape[0]
        return tf.nest.map_structure(
            lambda leaf: tf.tile(leaf, [-(-tasks // count)] + [1] * (leaf.ndim - 1))[:tasks], self.tasks
        )


def still(phi):
    """Return a projection that leaves phi where it began."""
    return lambda _: phi


def trainer(tracking, start=None, problem=None, estimator=None, **arguments):
    """Return a trainer by plain descent, not compiled with XLA, which fuses steps in other ways."""
    learner = ml.BilevelLearner(
        problem or tracking.problem, estimator or ml.estimators.checkpointed(), start or phi()
    )
    optimizer = keras.optimizers.SGD(OUTER_RATE)
    arguments |= {"jit_compile": False, "check_derivatives": False}
    return ml.MetaTrainer(learner, Same(tracking.tasks()), optimizer, 2, **arguments)


def carried(trainer):
    """Return the inner loops that a trainer carries, by name."""
    state = trainer.state()
    return {name: value for name, value in state.items() if name.startswith("carried/inner/")}


def assert_same_bits(left, right):
    """Check that two dictionaries of arrays are equal in names and bits."""
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


@pytest.mark.parametrize(
    ("steps", "iterations", "slices"),
    [
        pytest.param(2, 4, 3, id="fused-3"),
        pytest.param(7, 2, None, id="looped-None", marks=pytest.mark.slow),
        pytest.param(2, 4, None, id="fused-None", marks=pytest.mark.slow),
        pytest.param(7, 2, 3, id="looped-3", marks=pytest.mark.slow),
    ],
)
def test_iterations_are_one_long_loop(steps, iterations, slices):
    """K steps carried over m iterations have the bits of K m steps, and equal NumPy's to 1e-13."""
    part, whole = Tracking(steps, slices), Tracking(steps * iterations, slices)
    several = trainer(part, carry=iterations, projection=still(phi()))
    losses = several.run(iterations)["outer/loss"]
    at_once = trainer(whole, carry=1, projection=still(phi()))
    at_once.run(1)
    assert_same_bits(carried(several), carried(at_once))
    np.testing.assert_array_equal(carried(several)["carried/inner/step"], [steps * iterations] * 2)
    rows = [
        np.mean([part.by_hand(one(part.tasks(), task), steps * (k + 1))[0] for task in range(2)])
        for k in range(iterations)
    ]
    np.testing.assert_allclose(losses, rows, rtol=1e-6)
    for task in range(2):
        _, state = part.by_hand(one(part.tasks(), task), steps * iterations)
        for name, value in state.items():
            found = carried(several)[LEAVES[name]][task]
            np.testing.assert_allclose(found, value, rtol=0, atol=1e-13, err_msg=name)


def descent(tracking, iterations, carry):
    """Return phi after iterations in NumPy, and their mean meta-losses."""
    w, decay, losses = W0, DECAY, []
    tasks = [one(tracking.tasks(), index) for index in range(2)]
    states = [None, None]
    for iteration in range(iterations):
        if iteration % carry == 0:
            states = [None, None]
        rows, slope_w, slope_decay, after = [], np.zeros(3), 0.0, []
        for task, state in zip(tasks, states, strict=True):
            loss, reached = tracking.by_hand(task, tracking.steps, w, decay, state)
            moved, _ = tracking.by_hand(task, tracking.steps, w, decay + 1e-30j, state)
            slope_decay += moved.imag / 1e-30 / 2
            for unit in np.eye(3) if state is None else ():
                moved, _ = tracking.by_hand(task, tracking.steps, w + 1e-30j * unit, decay)
                slope_w = slope_w + unit * moved.imag / 1e-30 / 2
            rows.append(loss)
            after.append(reached)
        w, decay, states = w - OUTER_RATE * slope_w, decay - OUTER_RATE * slope_decay, after
        losses.append(np.mean(rows))
    return w, decay, losses


@pytest.mark.parametrize("carry", mostly_slow([1, 3], 3))
def test_training_is_the_recursion_in_numpy(carry):
    """phi and losses equal NumPy's, with restarts every ``carry`` iterations, to 1e-10."""
    tracking = Tracking(2)
    training = trainer(tracking, carry=carry)
    history = training.run(7)
    w, decay, losses = descent(tracking, 7, carry)
    np.testing.assert_allclose(training.meta["w"], w, rtol=0, atol=1e-10)
    np.testing.assert_allclose(training.meta["decay"], decay, rtol=0, atol=1e-10)
    np.testing.assert_allclose(history["outer/loss"], losses, rtol=1e-6)
    assert np.abs(w - W0).max() > 1e-2


def test_no_carry_is_a_carry_of_one():
    """Without a carry, phi has the bits of a carry of one, and the state contains no inner loops."""
    plain, anew = trainer(Tracking(2)), trainer(Tracking(2), carry=1)
    for training in (plain, anew):
        training.run(3)
    assert carried(plain) == {}
    assert_same_bits(plain.state(), {k: v for k, v in anew.state().items() if k not in carried(anew)})


def test_a_state_in_the_middle_of_a_carry_goes_on_with_the_same_bits():
    """Four iterations, and three in a new trainer from the state, have the bits of seven in one call."""
    first, second, whole = (trainer(Tracking(2), carry=3) for _ in range(3))
    first.run(4)
    state = first.state()
    assert set(LEAVES.values()) | {"carried/inner/step"} <= set(state)
    np.testing.assert_array_equal(state["carried/inner/step"], [2, 2])
    second.restore(state)
    rest, history = second.run(3), whole.run(7)
    assert_same_bits(second.state(), whole.state())
    assert_same_bits(rest, {name: values[4:] for name, values in history.items()})
    for name in LEAVES.values():
        with pytest.raises(ValueError, match=f"another configuration: .*{name}"):
            second.restore({key: value for key, value in state.items() if key != name})


def without_start(tracking):
    """Return a problem whose start does not depend on phi, which is only the decay."""
    problem, start = tracking.problem, phi()["w"]
    return dataclasses.replace(problem, start=lambda phi, task: problem.start({"w": start}, task))


def test_carried_forever():
    """``carry="forever"`` has the bits of a carry that is longer than the training."""
    tracking, start = Tracking(2), {"decay": phi()["decay"]}
    forever, long = (
        trainer(tracking, start, without_start(tracking), carry=carry) for carry in ("forever", 100)
    )
    for training in (forever, long):
        training.run(4)
    assert_same_bits(forever.state(), long.state())
    np.testing.assert_array_equal(forever.state()["carried/inner/step"], [8, 8])


def test_what_only_the_start_depends_on_is_not_carried_forever():
    """A part of phi on which only the start depends is an error, because its gradient would vanish."""
    with pytest.raises(ValueError, match="carry='forever' leaves no gradient for w: only the start"):
        trainer(Tracking(2), carry="forever")


@pytest.mark.parametrize("carry", [0, -1, 1.5, "always"])
def test_bad_carries_are_refused(carry):
    """The message names the argument, its value and the alternatives."""
    with pytest.raises(ValueError, match=rf"carry \(None for none, or 'forever'\) .* got {carry!r}"):
        trainer(Tracking(2), carry=carry)


def test_an_estimator_of_the_start_is_refused():
    """Reptile, which moves the start towards the adapted parameters, rejects continued loops."""
    with pytest.raises(ValueError, match="carry=2 is not supported by the estimator reptile"):
        trainer(Tracking(2), phi(decay=False), estimator=ml.estimators.reptile(), carry=2)
