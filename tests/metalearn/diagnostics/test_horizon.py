"""Growth of the cotangent by step, and variance at equal cost: closed forms."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

RATES, STEPS = {"falls": 0.5, "explodes": 5.0}, 6


def quadratic(rate, mapping="vectorized"):
    """Return descent on ``p^2 / 2``, whose step multiplies the cotangent by ``1 - rate``, from phi."""
    return ml.BilevelProblem(
        start=lambda phi, task: {"p": phi},
        inner_loss=lambda theta, phi, batch, model: tf.reduce_sum(theta["p"] ** 2) / 2,
        outer_loss=lambda theta, phi, task, model: tf.reduce_sum(theta["p"] * task.query),
        rule=ml.rules.sgd(rate),
        steps=STEPS,
        mapping=mapping,
    )


PHI, TASKS = (
    tf.constant([1.0, 2.0], tf.float64),
    ml.Task((), tf.constant([[3.0, 4.0], [0.0, 1.0]], tf.float64)),
)


@pytest.mark.parametrize("mapping", ["vectorized", "sequential"])
@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
def test_cotangent_growth(in_graph, rate, mapping):
    """For descent on a quadratic, norms equal ``|1 - rate|^(K - k) |q|`` to 1e-12."""
    found = in_graph(lambda: ml.diagnostics.cotangent_growth(quadratic(rate, mapping), PHI, TASKS))()
    factors = np.abs(1 - rate) ** np.arange(STEPS, -1, -1)
    np.testing.assert_allclose(found, np.outer([5.0, 1.0], factors), rtol=1e-12)


def test_variance_at_equal_cost(in_graph):
    """Variance times cost equals ``3 |a|^2`` for any number of pairs of evolution strategies, within 15 %.

    In two dimensions tr(Cov(e e'a)) is ``(2 + 1) |a|^2``; so times a cost of n all are equal, to 15 % with
    1000 calls. The exact gradient has none, and the estimates are within 4 standard errors of it.
    """
    task = tf.nest.map_structure(lambda leaf: leaf[:1], TASKS)
    compared = {"exact": ml.diagnostics.Compared(ml.estimators.checkpointed(), 1.0)} | {
        f"pairs {pairs}": ml.diagnostics.Compared(ml.estimators.evolution(0.1, pairs), pairs)
        for pairs in (1, 4)
    }
    found = in_graph(
        lambda: ml.diagnostics.variance_at_equal_cost(quadratic(0.5), PHI, task, compared, 1000)
    )()
    squared = 25 * 0.5 ** (2 * STEPS)
    assert found["variance/exact"] < 1e-20
    for pairs in (1, 4):
        np.testing.assert_allclose(found[f"variance/pairs {pairs}"], 3 * squared, rtol=0.15)
        assert found[f"distance/pairs {pairs}"] < 4 * np.sqrt(3 * squared / pairs / 1000)
    assert "biased" in ml.diagnostics.meaning("distance/exact")
    with pytest.raises(ValueError, match="calls must be an integer of at least 2, got 1"):
        ml.diagnostics.variance_at_equal_cost(quadratic(0.5), PHI, task, compared, 1)
