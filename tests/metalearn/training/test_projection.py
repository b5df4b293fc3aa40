"""Projection of phi onto a feasible set after an update, and previews of the next update."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

RATE, CENTRE, START = 0.25, np.array([2.0, -3.0, 0.2]), np.array([0.9, 0.5, 0.0])


INFINITE = tf.constant(np.inf, tf.float64)


class Nothing:
    """Tasks without data."""

    def sample(self, seed, tasks):
        """Return one task without a leaf."""
        return ml.Task((), ())


def box(phi):
    """Return phi in ``[-1, 1]``."""
    return {"p": tf.clip_by_value(phi["p"], -1, 1)}


def trainer(projection=None, optimizer=None):
    """Return a trainer of the meta-loss ``|phi - centre|^2

    2``.
    """
    problem = ml.BilevelProblem(
        start=lambda phi, task: phi,
        inner_loss=lambda theta, phi, batch, model: tf.reduce_sum(theta["p"]),
        outer_loss=lambda theta, phi, task, model: tf.reduce_sum(tf.square(theta["p"] - CENTRE)) / 2,
        rule=ml.rules.sgd(0.1),
        steps=0,
    )
    learner = ml.BilevelLearner(problem, start={"p": tf.constant(START)})
    optimizer = optimizer or keras.optimizers.SGD(RATE)
    return ml.MetaTrainer(learner, Nothing(), optimizer, 1, projection=projection, jit_compile=False)


def test_phi_stays_in_a_box():
    """Six iterations equal projected gradient descent in NumPy, to 1e-12."""
    training, expected = trainer(box), START
    for _ in range(6):
        training.run(1)
        expected = np.clip(expected - RATE * (expected - CENTRE), -1, 1)
        np.testing.assert_allclose(training.meta["p"], expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(training.meta["p"][:2], [1, -1])
    free = trainer()
    free.run(6)
    assert np.abs(free.meta["p"]).max() > 1.5


def test_cuts_of_a_projected_run_do_not_change_the_bits():
    """Two iterations, and four in a new trainer from the state, have the bits of six."""
    first, second, whole = (trainer(box, keras.optimizers.Adam(0.3)) for _ in range(3))
    first.run(2)
    second.restore(first.state())
    second.run(4)
    whole.run(6)
    for name, value in whole.state().items():
        np.testing.assert_array_equal(second.state()[name], value, err_msg=name)


@pytest.mark.parametrize(
    ("projection", "named"),
    [
        (lambda phi: {"q": phi["p"]}, "differs at p: nothing instead of float64"),
        (lambda phi: {**phi, "q": phi["p"]}, "differs at q: float64 .* instead of nothing"),
        (lambda phi: {"p": phi["p"][:2]}, r"differs at p: float64 \(2,\) instead of float64 \(3,\)"),
        (lambda phi: {"p": tf.cast(phi["p"], tf.float32)}, "differs at p: float32"),
        (lambda phi: phi["p"], "differs at the tensor itself"),
        (lambda phi: {"p": tf.math.log(phi["p"])}, "non-finite numbers at p for the initial phi"),
    ],
    ids=["name", "extra", "shape", "type", "bare", "infinite"],
)
def test_ill_structured_projections_are_refused(projection, named):
    """A projection that changes the structure is an error in the constructor that names the leaf."""
    with pytest.raises(ValueError, match=f"projection .*{named}"):
        trainer(projection)


def test_a_projection_that_stops_being_finite_stops_the_run():
    """A non-finite projection is an error that names the leaf, and phi keeps its bits."""
    training = trainer(lambda phi: {"p": tf.where(phi["p"] > 1.5, INFINITE, phi["p"])})
    training.run(1)
    before = training.state()
    with pytest.raises(ml.NonFiniteError, match=r"not finite: p\. .*projection has to return finite numbers"):
        training.run(5)
    assert training.iteration == 2
    replayed = trainer(lambda phi: {"p": tf.where(phi["p"] > 1.5, INFINITE, phi["p"])})
    replayed.restore(before)
    replayed.run(1)
    for name, value in replayed.state().items():
        np.testing.assert_array_equal(training.state()[name], value, err_msg=name)


def test_the_next_update_is_told_and_not_made():
    """A preview does not change the state, and equals the next update and its gradient."""
    training = trainer(box, keras.optimizers.Adam(0.3))
    training.run(2)
    before, gradient = training.state(), training.last_gradient
    proposed, ahead = training.next_update()
    for name, value in training.state().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    assert training.last_gradient is gradient
    np.testing.assert_allclose(ahead["p"], before["meta/p"] - CENTRE, rtol=1e-12)
    assert np.abs(proposed["p"] - before["meta/p"]).max() > 1e-2
    twin = trainer(box, keras.optimizers.Adam(0.3))
    twin.run(3)
    training.run(1)
    np.testing.assert_array_equal(training.meta["p"], proposed["p"])
    np.testing.assert_array_equal(training.last_gradient["p"], ahead["p"])
    for name, value in twin.state().items():
        np.testing.assert_array_equal(training.state()[name], value, err_msg=name)


def test_there_is_no_next_update_where_it_is_not_finite():
    """If the next update is not finite, the preview is None and the state does not change."""
    training = trainer(lambda phi: {"p": tf.where(phi["p"] > 1.0, INFINITE, phi["p"])})
    before = training.state()
    assert training.next_update() is None
    for name, value in training.state().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
