"""Moving statistics in a training: carried, averaged over tasks, in checkpoints, and not optimised."""

import functools

import keras
import numpy as np
import pytest

import metalearn as ml
from tests.metalearn.normalized import KEYS, RATE, STATISTICS, by_complex_step, network, program

LEARNING_RATE = 0.125  # The same number in float32 and float64.
STEPS = 2


def drawn(seed, tasks):
    rng = np.random.default_rng([*seed])
    support = rng.normal(size=(tasks, 7, 3)), rng.normal(size=(tasks, 7, 2))
    return support, (1 + 2 * rng.normal(size=(tasks, 5, 3)), rng.normal(size=(tasks, 5, 2)))


def trainer_of(name, optimizer=None):
    """Return a trainer of the network on three tasks an iteration, from the network's own weights."""
    learner = ml.MetaLearner(
        network(), "mse", ml.rules.sgd(RATE), steps=STEPS, statistics=name, initialize="model"
    )
    source = ml.tasks.from_function(drawn, dtype="float64")
    optimizer = optimizer or keras.optimizers.SGD(LEARNING_RATE)
    options = {"jit_compile": False, "check_derivatives": False}
    return ml.MetaTrainer(learner, source, optimizer, meta_batch_size=3, **options)


@functools.cache
def _kept(name):
    trainer = trainer_of(name)
    return trainer, trainer.state()


def first(name):
    """Return one shared trainer in its initial state, because building its program takes long."""
    trainer, state = _kept(name)
    trainer.restore(state)
    return trainer


def unpacked(meta, name):
    """Return the initial parameters and the sets of moving statistics, in the order of the program."""
    leaves = [np.asarray(meta["statistics"][key]) for key in STATISTICS]
    sets = [[leaf[k] for leaf in leaves] for k in range(STEPS + 1)] if name == "per_step" else [leaves]
    return [np.asarray(meta["parameters"][key]) for key in KEYS], sets


def iteration(name, values, sets, tasks):
    """Return parameters and sets after an iteration of stochastic gradient descent, in NumPy."""
    count = len(tasks)
    left = [program(name, values, sets, task, STEPS)[1] for task in tasks]
    gradient = by_complex_step(
        lambda p: sum(program(name, p, sets, task, STEPS)[0] for task in tasks) / count, values
    )
    averaged = [
        [sum(of_task[k][place] for of_task in left) / count for place in range(2)] for k in range(len(sets))
    ]
    return [value - LEARNING_RATE * g for value, g in zip(values, gradient, strict=True)], averaged


@pytest.mark.parametrize("name", [pytest.param("moving", marks=pytest.mark.slow), "per_step"])
def test_three_iterations_are_those_of_numpy(name):
    """Parameters and statistics equal NumPy's, to 1e-9.

    Statistics are the mean over tasks of m_K, from which the next iteration starts.
    """
    trainer = first(name)
    values, sets = unpacked(trainer.meta, name)
    begun = sets
    losses = []
    for index in range(3):
        tasks = trainer.training_tasks(index)
        batches = [(batch.inputs.numpy(), batch.targets.numpy()) for batch in (tasks.support, tasks.query)]
        each = [[(x[task], y[task]) for x, y in batches] for task in range(3)]
        losses.append(np.mean([program(name, values, sets, task, STEPS)[0] for task in each]))
        values, sets = iteration(name, values, sets, each)
    history = trainer.run(3)
    np.testing.assert_allclose(history["outer/loss"], losses, rtol=1e-6)  # A history is of float32.
    found, moved = unpacked(trainer.meta, name)
    for key, one, other in zip(KEYS, found, values, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9, err_msg=key)
    np.testing.assert_allclose(moved, sets, rtol=1e-9)
    assert np.abs(np.subtract(moved, begun)).min() > 1e-6


def test_no_optimizer_moves_them():
    """Statistics are not variables of the optimizer: weight decay changes parameters, but not them."""
    plain, decayed = first("moving"), trainer_of("moving", keras.optimizers.SGD(0.125, weight_decay=0.5))
    for trainer in (plain, decayed):
        trainer.run(1)
        names = [name for name in trainer.state() if "moving" in name]
        assert names == [f"carried/statistics/{key}" for key in STATISTICS]
    for key in STATISTICS:
        np.testing.assert_array_equal(plain.meta["statistics"][key], decayed.meta["statistics"][key])
    key = "output/kernel"
    assert not np.array_equal(plain.meta["parameters"][key], decayed.meta["parameters"][key])


@pytest.mark.parametrize("name", ["moving", pytest.param("per_step", marks=pytest.mark.slow)])
def test_a_training_that_is_resumed_ends_with_the_same_bits(name):
    """Statistics are part of the state, so that a resumed training has the same bits."""
    whole = first(name)
    whole.run(2)
    state = whole.state()
    for key in STATISTICS:
        np.testing.assert_array_equal(state[f"carried/statistics/{key}"], whole.meta["statistics"][key])
    whole.run(2)
    resumed = trainer_of(name)
    resumed.restore(state)
    resumed.run(2)
    ends = whole.state(), resumed.state()
    assert ends[0].keys() == ends[1].keys()
    for key, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][key], err_msg=key)
    moved = f"carried/statistics/{STATISTICS[0]}"
    assert not np.array_equal(ends[0][moved], state[moved])


@pytest.mark.parametrize("name", ["batch", "support"])
def test_modes_without_a_state_carry_none(name):
    trainer = trainer_of(name)
    assert "statistics" not in trainer.meta
    assert not [key for key in trainer.state() if "moving" in key]


@pytest.mark.slow
def test_they_are_loaded_with_the_parameters():
    """After loading, an iteration equals NumPy's from the loaded parameters and statistics, to 1e-9."""
    one, other = first("moving"), trainer_of("moving")
    one.run(2)
    other.load(one.meta)
    for key in STATISTICS:
        np.testing.assert_array_equal(other.meta["statistics"][key], one.meta["statistics"][key])
    values, sets = unpacked(one.meta, "moving")
    tasks = other.training_tasks(0)
    batches = [(batch.inputs.numpy(), batch.targets.numpy()) for batch in (tasks.support, tasks.query)]
    values, sets = iteration("moving", values, sets, [[(x[k], y[k]) for x, y in batches] for k in range(3)])
    other.run(1)
    found, moved = unpacked(other.meta, "moving")
    np.testing.assert_allclose(moved, sets, rtol=1e-9)
    np.testing.assert_allclose(found[0], values[0], rtol=1e-9)
