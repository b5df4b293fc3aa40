"""All diagnostics compared with linear regression by hand, and the metrics of three defective learners."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.estimators import Estimator

RATES = (0.05, 0.1, 0.3)


def assert_equal(found, expected, tolerance=1e-9):
    """Compare two diagnoses key by key, with a relative tolerance and the same in absolute terms."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == ()
        assert found[name].dtype == tf.float64
        np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def meta_sgd(linear):
    """Return linear regression with a learned rate for every element."""
    return linear(ml.rules.sgd(ml.rules.learned(0.05, per="element")))


@pytest.fixture(scope="module")
def compiled(meta_sgd, with_xla):
    """Return its diagnosis, compiled once."""
    learner = meta_sgd.learner()
    return with_xla(lambda meta, tasks: ml.diagnostics.diagnose(learner, meta, tasks))


def test_every_key_by_hand(meta_sgd, compiled):
    """All diagnostics equal closed forms to 1e-9 under XLA, for a learned rate for each element."""
    meta, tasks = meta_sgd.meta(rates=RATES), meta_sgd.tasks()
    found = compiled(meta, tasks)
    assert_equal(found, meta_sgd.by_hand(meta, tasks, RATES))
    np.testing.assert_allclose(found["order/estimator_cosine"], 1, rtol=1e-12)
    assert found["order/cosine"] < 0.99  # so that an estimator without second derivatives would show


@pytest.mark.slow
def test_a_convolution_one_task_at_a_time(convolution, in_graph):
    """A learner that cannot be vectorised, with one rate for all, has the same closed forms, to 1e-9."""
    problem = convolution(ml.rules.sgd(0.05))
    learner, meta, tasks = problem.learner(), problem.meta(), problem.tasks()
    assert learner.mapping == "sequential"
    found = in_graph(lambda meta, tasks: ml.diagnostics.diagnose(learner, meta, tasks))(meta, tasks)
    assert_equal(found, problem.by_hand(meta, tasks, [0.05] * 3))


@dataclasses.dataclass(frozen=True)
class Cut(Estimator):
    """An estimator that declares itself exact, but is of first order."""

    exact = True

    def __call__(self, problem, phi, tasks, carry=(), seed=(0, 0)):
        return ml.estimators.first_order()(problem, phi, tasks, carry, seed)


def test_an_estimator_cut_in_silence(meta_sgd, compiled):
    """An estimator that is wrongly declared exact has the cosine of first order; other keys are unchanged.

    It runs eagerly, compared with nested tapes: so eager mode and XLA agree, and so do two references.
    """
    learner = meta_sgd.learner(estimator=Cut())
    meta, tasks = meta_sgd.meta(rates=RATES), meta_sgd.tasks()
    found = ml.diagnostics.diagnose(learner, meta, tasks, reference=ml.estimators.unrolled())
    sound = compiled(meta, tasks)
    assert_equal(found, meta_sgd.by_hand(meta, tasks, RATES, estimated="first"))
    assert found["order/estimator_cosine"] < 0.99
    np.testing.assert_allclose(found["order/estimator_cosine"], found["order/cosine"], rtol=1e-12)
    same = [name for name in found if not name.startswith(("order/estimator", "tasks/"))]
    assert_equal(*({name: of[name] for name in same} for of in (found, sound)), 1e-12)


def test_opposite_tasks(meta_sgd, compiled):
    """With targets y, -y, y, -y and zero weights, four of six pairs conflict; cosines are right to 1e-3.

    Targets are small: what the gradient by the rates has of their square, of one sign, does not count.
    """
    one, signs = meta_sgd.tasks(1), tf.constant([1.0, -1, 1, -1], tf.float64)[:, None, None]
    batches = [ml.Batch(tf.repeat(b.inputs, 4, 0), 1e-4 * signs * b.targets) for b in one[:2]]
    found = compiled(meta_sgd.meta(weights=(0, 0, 0), rates=RATES), ml.Task(*batches))
    np.testing.assert_allclose(found["tasks/conflicts"], 4 / 6, rtol=1e-12)
    np.testing.assert_allclose(found["tasks/cosine"], (2 - 4) / 6, rtol=1e-3)
    assert found["tasks/signal_to_noise"] < 1e-3
    assert found["tasks/noise_scale"] == np.inf


def test_a_rate_beyond_stability(meta_sgd, compiled):
    """With a rate that is too large, stability exceeds 2 and the loss increases in all tasks."""
    tasks = meta_sgd.tasks()
    sound, sick = (compiled(meta_sgd.meta(rates=[rate] * 3), tasks) for rate in (0.05, 2.0))
    losses = [[found[f"inner/support_loss/{step}"] for step in range(3)] for found in (sound, sick)]
    assert sound["inner/stability"] < 2
    assert sound["inner/unstable"] == 0
    assert np.all(np.diff(losses[0]) < 0)
    assert sick["inner/stability"] > 2
    assert sick["inner/unstable"] == 1
    assert np.all(np.diff(losses[1]) > 0)


def test_what_is_not_finite_shows(meta_sgd, compiled):
    """A NaN in one task makes every mean, fraction and maximum that includes this task NaN."""

    def spoiled(leaf):
        return tf.tensor_scatter_nd_update(leaf, [[2, 0, 0]], tf.constant([np.nan], tf.float64))

    meta, tasks = meta_sgd.meta(), meta_sgd.tasks()
    found = compiled(meta, tasks._replace(query=tasks.query._replace(targets=spoiled(tasks.query.targets))))
    of_support = {"support_loss/0", "support_loss/1", "support_loss/2", "displacement", "curvature"}
    of_support |= {"curvature_maximum", "stability", "unstable"}
    assert {name for name, value in found.items() if not np.isnan(value)} == {
        f"inner/{name}" for name in of_support
    }
    found = compiled(
        meta, tasks._replace(support=tasks.support._replace(inputs=spoiled(tasks.support.inputs)))
    )
    assert {name for name, value in found.items() if not np.isnan(value)} == {"inner/query_loss/0"}


def test_every_key_has_a_meaning(meta_sgd, compiled):
    """Every key has a meaning of three parts, and every meaning belongs to a key."""
    meta = meta_sgd.meta()
    found = [
        *compiled(meta, meta_sgd.tasks()),
        *ml.diagnostics.update_ratios(meta, meta, meta),
        *ml.diagnostics.learned_statistics(ml.diagnostics.learned_values(meta_sgd.learner(), meta)),
        *("variance/checkpointed", "distance/checkpointed"),  # of variance_at_equal_cost, see test_horizon
    ]
    meanings = {ml.diagnostics.meaning(name) for name in found}
    assert meanings == set(ml.diagnostics.MEANINGS.values())
    assert all(len(text.split("; ")) == 3 for text in meanings)
    with pytest.raises(KeyError, match="order"):
        ml.diagnostics.meaning("order")


def test_wrong_second_derivatives_are_refused():
    """Layers with wrong second derivatives are named in an error, also for a first-order learner."""
    layers = [keras.layers.Dense(2), keras.layers.LayerNormalization(name="norm"), keras.layers.Dense(1)]
    learner = ml.MetaLearner(
        keras.Sequential([keras.Input((1,)), *layers]),
        ml.losses.mse,
        ml.rules.sgd(0.1),
        estimator=ml.estimators.first_order(),
    )
    with pytest.raises(ValueError, match=r"norm.*layers\.exact"):
        ml.diagnostics.diagnose(learner, learner.initialize(0), ml.tasks.Sinusoid().sample((0, 0), 2))
