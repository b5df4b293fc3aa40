"""Functions of several kinds: formulas, ranges, proportions, and reference losses."""

import math

import numpy as np
import pytest

import metalearn as ml

KINDS = ("sinusoid", "linear", "quadratic", "l1", "tanh")

RULES = {
    "sinusoid": lambda x, a, c, b: a * np.sin(x - c),
    "linear": lambda x, a, c, b: a * x + b,
    "quadratic": lambda x, a, c, b: a * (x - c) ** 2 + b,
    "l1": lambda x, a, c, b: a * np.abs(x - c) + b,
    "tanh": lambda x, a, c, b: a * np.tanh(x - c) + b,
}

SCALES = {"sinusoid": (0.1, 5), "linear": (-3, 3), "quadratic": (0.02, 0.15), "l1": (-3, 3), "tanh": (-3, 3)}


@pytest.fixture(scope="module")
def task():
    """20000 tasks without noise."""
    return ml.tasks.Multimodal(shots=2, queries=20, noise=0.0).sample((0, 0), 20_000)


def of_kind(task, index):
    """Return the parameters a, c, b of the tasks of one kind, as columns, and which tasks those are."""
    chosen = task.info[:, index].numpy() == 1
    return task.info.numpy().astype(np.float64)[chosen, len(KINDS) :].T, chosen


@pytest.mark.parametrize("kind", KINDS)
def test_targets_follow_the_rule_of_their_kind(task, kind):
    (a, c, b), chosen = of_kind(task, KINDS.index(kind))
    for inputs, targets in (task.support, task.query):
        x = inputs.numpy().astype(np.float64)[chosen]
        expected = RULES[kind](x, *(column[:, None, None] for column in (a, c, b)))
        np.testing.assert_allclose(targets.numpy()[chosen], expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_uniform_over_the_ranges_of_their_kind(task, kind, assert_mean):
    (a, c, b), _ = of_kind(task, KINDS.index(kind))
    centre = {"sinusoid": (0, math.pi), "linear": (0, 0)}.get(kind, (-3, 3))
    offset = (0, 0) if kind == "sinusoid" else (-3, 3)
    for values, (low, high) in (
        (np.abs(a) if kind == "quadratic" else a, SCALES[kind]),
        (c, centre),
        (b, offset),
    ):
        if low == high:
            np.testing.assert_array_equal(values, low)
            continue
        assert low - 1e-6 <= values.min() < values.max() <= high + 1e-6
        assert_mean(values, (low + high) / 2)
        assert_mean(np.square(values - (low + high) / 2), (high - low) ** 2 / 12)


def test_kinds_and_signs_are_equally_frequent(task, assert_mean):
    kinds = task.info.numpy()[:, : len(KINDS)]
    np.testing.assert_array_equal(kinds.sum(1), 1)
    for column in kinds.T:
        assert_mean(column, 1 / 5)
    assert_mean(of_kind(task, KINDS.index("quadratic"))[0][0] > 0, 1 / 2)


@pytest.mark.parametrize("modes", [["l1"], ["tanh", "sinusoid"], ["linear", "quadratic", "sinusoid"]])
def test_some_kinds_only(modes, assert_mean):
    """The chosen kinds are equally probable and in the given order, with a column for each."""
    task = ml.tasks.Multimodal(modes=modes, noise=0.0).sample((1, 0), 3000)
    assert task.info.shape == (3000, len(modes) + 3)
    for index, kind in enumerate(modes):
        chosen = task.info.numpy()[:, index] == 1
        if len(modes) > 1:
            assert_mean(chosen, 1 / len(modes))
        a, c, b = task.info.numpy().astype(np.float64)[chosen, len(modes) :].T[..., None, None]
        x, y = (leaf.numpy()[chosen] for leaf in task.query)
        np.testing.assert_allclose(y, RULES[kind](x, a, c, b), atol=1e-5)


def test_sinusoids_only_are_the_sinusoid_family(assert_mean, loss_of):
    task = ml.tasks.Multimodal(modes=["sinusoid"], shots=1, queries=20).sample((0, 0), 20_000)
    assert_mean(loss_of(task, np.zeros_like), (5**3 - 0.1**3) / (3 * 4.9) / 2, most=0.03)


def test_reference_losses(task, assert_mean, loss_of):
    """The losses of predicting 0, by kind and for all, and of the best predictor equal closed forms.

    Second moments of U[-5, 5] and U[-3, 3] are 25/3 and 3; ``E (x - c)^4 = 125 + 6 (25/3) 3 + 81/5``,
    ``E a^2 = (0.15^3 - 0.02^3) / 0.39`` of a parabola, and ``E tanh^2(x - c)`` is
    ``1 - log(cosh 8 / cosh 2) / 30``.
    """
    tanh = 1 - math.log(math.cosh(8) / math.cosh(2)) / 30
    quadratic = (0.15**3 - 0.02**3) / 0.39 * (125 + 150 + 81 / 5)
    costs = [(5**3 - 0.1**3) / (3 * 4.9) / 2, 25 + 3, quadratic + 3, 3 * (25 / 3 + 3) + 3, 3 * tanh + 3]
    np.testing.assert_allclose(costs, [4.252, 28, 5.514, 37, 5.402], atol=5e-4)
    losses = loss_of(task, np.zeros_like)
    for index, cost in enumerate(costs):
        assert_mean(losses[of_kind(task, index)[1]], cost, most=1.0)
    assert_mean(losses, 16.034, most=0.2)
    best = loss_of(task, lambda x: -2.55 * (2 / math.pi) * np.cos(x) / 5)
    assert_mean(best, 15.984, most=0.2)
    assert_mean(losses - best, 16.034 - 15.984, most=0.02)


@pytest.mark.parametrize("modes", [[], ["cubic"], ["l1", "l1"], "l1", None, 3])
def test_bad_modes_are_refused(modes):
    """The message lists the available kinds and the value."""
    with pytest.raises(ValueError, match="modes must be a list of some of sinusoid, linear") as error:
        ml.tasks.Multimodal(modes=modes)
    assert repr(modes) in str(error.value)
