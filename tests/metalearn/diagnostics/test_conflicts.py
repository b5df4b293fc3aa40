"""Conflicts and noise of a meta-batch, for given gradients."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


def of(vectors):
    """Return the diagnosis of gradients ``[T, P]`` that are split over two leaves."""
    vectors = tf.cast(vectors, tf.float64)
    return ml.diagnostics.conflicts({"a": vectors[:, :1], "b": vectors[:, 1:, None]})


def test_closed_form():
    """For gradients (1, 0), (0, 1) and (-1, 0), all values equal those computed by hand, to 1e-15.

    Cosines 0, -1, 0. Mean (0, 1/3); deviations squared 1 + 1/9, 4/9, 1 + 1/9: tr(Sigma) = 4/3.
    |G|^2 = 1/9 - 4/9 = -1/3, so there is no signal.
    """
    found = of([[1, 0], [0, 1], [-1, 0]])
    expected = {
        "tasks/cosine": -1 / 3,
        "tasks/conflicts": 1 / 3,
        "tasks/variance": 4 / 3,
        "tasks/signal": -1 / 3,
        "tasks/signal_to_noise": 1 / 4,
        "tasks/noise_scale": np.inf,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-15, err_msg=name)


def test_opposite_optima_conflict():
    """Tasks ``|p - o|^2

    2`` with optima o and -o conflict at p = 0: their cosine is -1.
    """
    optimum = np.array([0.3, -2.0, 1.0])
    found = of([-optimum, optimum])
    np.testing.assert_allclose(found["tasks/cosine"], -1, rtol=1e-15)
    assert found["tasks/conflicts"] == 1
    assert found["tasks/signal_to_noise"] == 0
    assert found["tasks/noise_scale"] == np.inf
    assert of([optimum, optimum * 2])["tasks/conflicts"] == 0


def test_noise_scale_of_a_known_distribution():
    """The noise scale of optima with mean m and deviation s is ``P s^2

    |m|^2``, within 15 %.
    """
    random, mean, spread = np.random.default_rng(1), np.array([1.0, -2.0, 0.5]), 3.0
    found = of(mean + spread * random.normal(size=(1000, 3)))
    np.testing.assert_allclose(found["tasks/variance"], 3 * spread**2, rtol=0.05)
    np.testing.assert_allclose(found["tasks/noise_scale"], 27 / 5.25, rtol=0.15)


def test_estimates_are_unbiased():
    """Averaged over 500 meta-batches, variance and signal are within 4 standard errors of their values."""
    random, mean = np.random.default_rng(2), np.array([0.5, 0.5])
    compiled = tf.function(of, autograph=False)
    rows = [compiled(tf.constant(mean + random.normal(size=(3, 2)))) for _ in range(500)]
    for name, value in (("tasks/variance", 2.0), ("tasks/signal", 0.5)):
        values = np.array([row[name] for row in rows])
        assert abs(values.mean() - value) < 4 * values.std() / np.sqrt(len(values))


def test_conventions():
    """Equal gradients have an infinite signal-to-noise ratio, zero ones 0 and no conflict; NaN stays NaN."""
    equal = of([[1.0, 2.0]] * 3)
    assert equal["tasks/signal_to_noise"] == np.inf
    assert equal["tasks/noise_scale"] == 0
    assert of([[0.0, 0.0]] * 3)["tasks/signal_to_noise"] == 0
    assert of([[0.0, 0.0], [1.0, 2.0]])["tasks/conflicts"] == 0
    assert all(np.isnan(value) for value in of([[np.nan, 0.0], [1.0, 2.0], [1.0, 1.0]]).values())


def test_one_task_and_an_unknown_number():
    """A single task has no pairs, so there are no keys; an unknown number of tasks is an error."""
    assert of([[1.0, 2.0]]) == {}
    unknown = tf.function(
        ml.diagnostics.conflicts, input_signature=[tf.TensorSpec([None, 2])], autograph=False
    )
    with pytest.raises(ValueError, match="number of tasks is unknown"):
        unknown(tf.ones([2, 2]))
