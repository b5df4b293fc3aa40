"""Properties of every family: purity, shapes, noise, informed inputs, and checks of settings."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import metalearn as ml

FAMILIES = [family for name in ml.tasks.__all__ if hasattr(family := getattr(ml.tasks, name), "informed")]

RANGES = [
    (family, field.name)
    for family in FAMILIES
    for field in dataclasses.fields(family)
    if isinstance(field.default, tuple) and all(isinstance(bound, float) for bound in field.default)
]

families = pytest.mark.parametrize("family", FAMILIES)
gridded = pytest.mark.parametrize("family", [family for family in FAMILIES if hasattr(family, "grid")])


def arrays(task):
    """Return inputs and targets of the support, of the query, and the parameters."""
    return [leaf.numpy() for leaf in tf.nest.flatten(task)]


@families
def test_shapes_and_types(family):
    """All arrays are float32; targets are ``[T, N, 1]`` and parameters ``[T, D]``."""
    given = arrays(family(shots=3, queries=5).sample((0, 0), 4))
    size = getattr(family, "input_size", 1)
    assert [leaf.shape for leaf in given[:4]] == [(4, 3, size), (4, 3, 1), (4, 5, size), (4, 5, 1)]
    assert given[4].ndim == 2
    assert len(given[4]) == 4
    assert {leaf.dtype.name for leaf in given} == {"float32"}


@families
def test_sample_is_a_pure_function_of_the_seed(family):
    """Equal seeds give equal bits; either half of the seed changes inputs and parameters."""
    tasks = family(noise=0.1)
    first = arrays(tasks.sample((3, 4), 5))
    tf.random.set_seed(1)
    tf.random.uniform([7])
    for again in (tasks.sample((3, 4), 5), tasks.sample(tf.constant([3, 4]), 5)):
        assert all(map(np.array_equal, first, arrays(again)))
    for other in ((4, 4), (3, 5), (4, 3), (3, -4)):
        found = arrays(tasks.sample(other, 5))
        assert not any(np.array_equal(first[leaf], found[leaf]) for leaf in (0, 2, 4))
    assert not np.intersect1d(first[0], first[2]).size
    assert np.unique(first[0]).size == first[0].size


@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_eager_graph_and_xla_agree(jit):
    """Eager mode, graph and XLA give the same tasks: inputs and parameters to 2e-6, targets to 5e-5.

    XLA rounds ``low + width * u`` once, not twice, which moves an input of 5 by half a unit, 4.8e-7. The
    angle of a harmonic is up to 126, where a unit is 7.6e-6.
    """

    def sample(seed):  # of all families in one program: it compiles in half the time
        return {family.__name__: family(noise=0.1).sample(seed, 6) for family in FAMILIES}

    seed = tf.constant([2, 9])
    eager, compiled = sample(seed), tf.function(sample, jit_compile=jit, autograph=False)(seed)
    for name, tasks in eager.items():
        tolerances = [2e-6, 5e-5, 2e-6, 5e-5, 2e-6]
        for ours, theirs, tolerance in zip(arrays(tasks), arrays(compiled[name]), tolerances, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance, err_msg=name)


@families
def test_streams_do_not_depend_on_the_other_counts(family):
    """Support, query and parameters do not depend on each other's sizes."""
    first = family(shots=5, queries=7, noise=0.1).sample((0, 1), 3)
    more_queries = family(shots=5, queries=20, noise=0.1).sample((0, 1), 3)
    more_shots = family(shots=9, queries=7, noise=0.1).sample((0, 1), 3)
    np.testing.assert_array_equal(first.support.targets, more_queries.support.targets)
    np.testing.assert_array_equal(first.query.targets, more_shots.query.targets)
    for other in (more_queries, more_shots):
        np.testing.assert_array_equal(first.info, other.info)


@families
def test_noise_is_on_the_targets_of_the_support_only(family, assert_mean):
    """Noise on the support's targets is Gaussian with the given deviation; all else keeps its bits."""
    clean, noisy = (family(noise=noise, shots=50).sample((1, 2), 200) for noise in (0.0, 0.5))
    added = noisy.support.targets.numpy().astype(np.float64) - clean.support.targets.numpy()
    assert_mean(added, 0.0)
    assert_mean(np.square(added), 0.25)
    assert_mean(added**4, 3 * 0.5**4)
    assert np.unique(added).size > 0.99 * added.size
    for leaf in (0, 2, 3, 4):
        np.testing.assert_array_equal(arrays(clean)[leaf], arrays(noisy)[leaf])


@families
def test_the_informed_are_told_the_parameters_with_every_input(family):
    """With ``informed``, the parameters are appended to all inputs, and nothing else changes."""
    plain, informed = (family(informed=told).sample((1, 2), 6) for told in (False, True))
    for before, after in zip(plain[:2], informed[:2], strict=True):
        size = before.inputs.shape[-1]
        told = np.repeat(plain.info.numpy()[:, None], before.inputs.shape[1], 1)
        np.testing.assert_array_equal(after.inputs[..., :size], before.inputs)
        np.testing.assert_array_equal(after.inputs[..., size:], told)
        np.testing.assert_array_equal(after.targets, before.targets)
    np.testing.assert_array_equal(plain.info, informed.info)


@gridded
def test_grid_spaces_the_queries_evenly(family):
    """With ``grid``, queries are ascending and evenly spaced; support and parameters are unchanged."""
    random, grid = (family(queries=41, grid=on).sample((0, 0), 3) for on in (False, True))
    spacing = np.diff(grid.query.inputs.numpy()[..., 0])
    assert spacing.min() > 0
    np.testing.assert_allclose(spacing, np.full_like(spacing, spacing.mean()), atol=2e-6)
    for leaf in (0, 1, 4):
        np.testing.assert_array_equal(arrays(random)[leaf], arrays(grid)[leaf])


@pytest.mark.parametrize("family", [f for f in FAMILIES if hasattr(f, "inputs")])
@settings(max_examples=10, deadline=None, database=None, derandomize=True)
@given(
    seed=st.tuples(st.integers(0, 2**31 - 1), st.integers(-1, 2**31 - 1)),
    low=st.floats(-100, 100, width=32),
    width=st.floats(0, 100, width=32),
    grid=st.booleans(),
)
def test_inputs_lie_in_their_range(family, seed, low, width, grid):
    """Inputs are within their range for any seed and range, on the grid including its ends."""
    tasks = family(inputs=(low, low + width), grid=grid).sample(seed, 3)
    for batch in (tasks.support, tasks.query):
        assert low - 2e-5 <= np.min(batch.inputs)
        assert np.max(batch.inputs) <= low + width + 2e-5
        assert np.isfinite(batch.targets).all()


@families
@pytest.mark.parametrize("name", ["shots", "queries"])
@pytest.mark.parametrize("value", [0, -1, True, 2.5, "5", None])
def test_bad_counts_are_refused(family, name, value):
    """The message names the setting and the value."""
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1") as error:
        family(**{name: value})
    assert repr(value) in str(error.value)


@families
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "0.1", None])
def test_bad_noise_is_refused(family, value):
    """The message names the setting and the value."""
    with pytest.raises(ValueError, match=r"noise .* must be a finite number above 0") as error:
        family(noise=value)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize(("family", "name"), RANGES)
@pytest.mark.parametrize("value", [(2.0, 1.0), (0.0, math.nan), (0.0, math.inf), (1.0,), 5.0])
def test_bad_ranges_are_refused(family, name, value):
    """Reversed, non-finite and misshapen ranges are refused; the message names setting and values."""
    with pytest.raises(ValueError, match=f"{name} ") as error:
        family(**{name: value})
    for number in np.atleast_1d(value):
        assert str(float(number)) in str(error.value)


@pytest.mark.parametrize(("family", "name"), RANGES)
def test_ranges_from_a_configuration_become_tuples(family, name):
    """A list makes an equal, hashable family: runs are compared by their settings."""
    assert family(**{name: [1, 2]}) == family(**{name: (1.0, 2.0)})
    assert hash(family(**{name: [1, 2]})) == hash(family(**{name: (1.0, 2.0)}))
    family(**{name: [1, 2]}).sample((0, 0), 2)


@families
@pytest.mark.parametrize("tasks", [0, -1, True, 2.5])
def test_bad_number_of_tasks_is_refused(family, tasks):
    """The message names the argument and the value."""
    with pytest.raises(ValueError, match=f"tasks must be an integer of at least 1, got {tasks}"):
        family().sample((0, 0), tasks)
