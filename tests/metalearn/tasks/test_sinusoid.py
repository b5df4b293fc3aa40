"""The sinusoid tasks: pure, in range, of the stated form and statistics."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import metalearn as ml


def leaves(tasks):
    """Return the four arrays of a batch of tasks: support inputs and targets, query inputs and targets."""
    return [leaf.numpy() for leaf in tf.nest.flatten(tasks)]


def fit(batch):
    """Return amplitude and phase of each task and the worst residual, by least squares.

    ``A sin(x - phase) = A cos(phase) sin x - A sin(phase) cos x`` is linear in ``sin x`` and ``cos x``.
    """
    amplitudes, phases, worst = [], [], 0.0
    for inputs, targets in zip(*(np.asarray(leaf, np.float64)[..., 0] for leaf in batch), strict=True):
        design = np.stack([np.sin(inputs), np.cos(inputs)], axis=1)
        solution, *_ = np.linalg.lstsq(design, targets)
        worst = max(worst, np.abs(design @ solution - targets).max())
        amplitudes.append(np.hypot(*solution))
        phases.append(np.arctan2(-solution[1], solution[0]))
    return np.array(amplitudes), np.array(phases), worst


def test_shapes_and_types():
    """Leaves are ``[T, N, 1]`` in float32."""
    tasks = ml.tasks.Sinusoid(shots=3, queries=5).sample((0, 0), 4)
    assert [leaf.shape for leaf in leaves(tasks)] == [(4, 3, 1), (4, 3, 1), (4, 5, 1), (4, 5, 1)]
    assert {leaf.dtype.name for leaf in leaves(tasks)} == {"float32"}


def test_sample_is_a_pure_function_of_the_seed():
    """Equal seeds give equal bits, other seeds (either half) and other leaves give other numbers."""
    tasks = ml.tasks.Sinusoid()
    first = leaves(tasks.sample((3, 4), 5))
    tf.random.set_seed(1)
    tf.random.uniform([7])
    for again in (tasks.sample((3, 4), 5), tasks.sample(tf.constant([3, 4]), 5)):
        assert all(map(np.array_equal, first, leaves(again)))
    for other in ((4, 4), (3, 5), (4, 3), (3, -4)):
        assert not any(map(np.array_equal, first, leaves(tasks.sample(other, 5))))
    assert not np.intersect1d(first[0], first[2]).size
    assert np.unique(first[0]).size == first[0].size


def test_streams_do_not_depend_on_the_other_counts():
    """The support is the same whatever the queries are, and the other way round."""
    few, many = (ml.tasks.Sinusoid(shots=s, queries=q).sample((0, 1), 3) for s, q in ((5, 7), (5, 20)))
    np.testing.assert_array_equal(few.support.targets, many.support.targets)
    other = ml.tasks.Sinusoid(shots=9, queries=7).sample((0, 1), 3)
    np.testing.assert_array_equal(few.query.targets, other.query.targets)


def test_eager_graph_and_xla_agree():
    """The same tasks in all three, to rounding: inputs to 1e-6, which an amplitude of 5 makes 5e-6 of in y.

    XLA may fuse ``low + width * u`` into one rounding, which moves inputs up to 5 by half a unit, 4.8e-7.
    """
    tasks = ml.tasks.Sinusoid()
    eager = leaves(tasks.sample((2, 9), 6))
    for jit in (False, True):
        sample = tf.function(lambda seed: tasks.sample(seed, 6), jit_compile=jit, autograph=False)
        compiled = leaves(sample(tf.constant([2, 9])))
        for ours, theirs, tolerance in zip(eager, compiled, [1e-6, 5e-6] * 2, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def test_targets_are_one_sinusoid_a_task():
    """Least squares recovers amplitude and phase in their ranges, the same from support and query."""
    batch = ml.tasks.Sinusoid(shots=20, queries=20).sample((0, 0), 200)
    amplitude, phase, residual = fit(batch.support)
    assert residual < 1e-5
    assert 0.1 <= amplitude.min() < 0.5
    assert 4.5 < amplitude.max() <= 5.0
    assert -1e-5 <= phase.min() < 0.2
    assert math.pi - 0.2 < phase.max() <= math.pi + 1e-5
    query_amplitude, query_phase, query_residual = fit(batch.query)
    assert query_residual < 1e-5
    np.testing.assert_allclose(query_amplitude, amplitude, atol=1e-5)
    # An error of 1e-6 in the targets moves the phase by that over the amplitude, at least 0.1.
    np.testing.assert_allclose(query_phase, phase, atol=1e-4)


@settings(max_examples=15, deadline=None, database=None, derandomize=True)
@given(
    seed=st.tuples(st.integers(0, 2**31 - 1), st.integers(-1, 2**31 - 1)),
    amplitude=st.floats(0, 10, width=32),
    inputs=st.tuples(st.floats(-100, 100, width=32), st.floats(0, 100, width=32)),
)
def test_ranges_are_respected(seed, amplitude, inputs):
    """Inputs lie in their range and targets within the amplitude, whatever the seed and the ranges."""
    low, high = inputs[0], inputs[0] + inputs[1]
    tasks = ml.tasks.Sinusoid(amplitude=(0, amplitude), inputs=(low, high)).sample(seed, 3)
    for batch in tasks:
        assert low - 1e-5 <= np.min(batch.inputs)
        assert np.max(batch.inputs) <= high + 1e-5
        assert np.max(np.abs(batch.targets)) <= amplitude * (1 + 1e-6)


def test_degenerate_ranges_fix_the_task():
    """With one amplitude and one phase every task is ``2 sin(x - 1)``."""
    batch = ml.tasks.Sinusoid(amplitude=(2, 2), phase=(1, 1)).sample((0, 0), 3).query
    np.testing.assert_allclose(batch.targets, 2 * np.sin(batch.inputs.numpy() - 1), atol=1e-6)


def test_reference_errors():
    """Predicting 0 costs 4.252, the best predictor that does not adapt 3.006, on 20000 tasks.

    The phase covers a half turn evenly, so ``E sin^2(x - phase) = 1/2`` at every x and predicting 0 costs
    ``E[A^2] / 2 = (5^3 - 0.1^3) / (3 * 4.9) / 2 = 4.2517``. The conditional mean ``E[A] (2/pi) (-cos x)``
    with ``E[A] = 2.55`` saves its mean square, ``(5.1/pi)^2 (1/2 + sin(10)/20) = 1.2460``.
    """
    inputs, targets = (
        leaf.numpy().astype(np.float64)
        for leaf in ml.tasks.Sinusoid(shots=1, queries=20).sample((0, 0), 20_000).query
    )
    predictions = {4.252: 0.0, 3.006: -2.55 * (2 / math.pi) * np.cos(inputs)}
    for expected, prediction in predictions.items():
        errors = np.square(targets - prediction).mean(axis=(1, 2))
        standard_error = errors.std(ddof=1) / math.sqrt(errors.size)
        assert standard_error < 0.03
        assert abs(errors.mean() - expected) < 4 * standard_error


def test_grid_spaces_the_queries_evenly():
    """Every task is asked at the same points, ends included; the support stays as it was."""
    random, grid = (ml.tasks.Sinusoid(queries=101, inputs=(-4, 6), grid=on) for on in (False, True))
    batch = grid.sample((0, 0), 3)
    expected = np.tile(np.linspace(-4, 6, 101)[None, :, None], [3, 1, 1])
    np.testing.assert_allclose(batch.query.inputs, expected, atol=1e-6)
    assert fit(batch.query)[2] < 1e-5
    np.testing.assert_array_equal(batch.support.targets, random.sample((0, 0), 3).support.targets)


@pytest.mark.parametrize("name", ["shots", "queries"])
@pytest.mark.parametrize("value", [0, -1, True, 2.5, "5", None])
def test_bad_counts_are_refused(name, value):
    """The message names the argument and the value."""
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1") as error:
        ml.tasks.Sinusoid(**{name: value})
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("name", ["amplitude", "phase", "inputs"])
@pytest.mark.parametrize("value", [(2.0, 1.0), (0.0, math.nan), (0.0, math.inf), (1.0,), 5.0])
def test_bad_ranges_are_refused(name, value):
    """Reversed, non-finite and misshapen ranges are refused; the message names argument and values."""
    with pytest.raises(ValueError, match=f"{name} ") as error:
        ml.tasks.Sinusoid(**{name: value})
    for number in np.atleast_1d(value):
        assert str(float(number)) in str(error.value)


@pytest.mark.parametrize("tasks", [0, -1, True, 2.5])
def test_bad_number_of_tasks_is_refused(tasks):
    """The message names the argument and the value."""
    with pytest.raises(ValueError, match=f"tasks must be an integer of at least 1, got {tasks}"):
        ml.tasks.Sinusoid().sample((0, 0), tasks)
