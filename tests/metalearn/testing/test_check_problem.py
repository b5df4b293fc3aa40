"""The conformance check of bilevel problems: right ones pass, and every violation is named."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.problems import slices
from metalearn.testing import check_problem

RATE = 0.1


def phi_of(dtype=tf.float64):
    return {"start": tf.constant([0.5, 0.1, -0.2], dtype), "strength": tf.constant(-0.5, dtype)}


def tasks_of(dtype=tf.float64, shape=(2, 4, 3)):
    """Return least-squares tasks, inputs ``[..., 3]``."""
    random = np.random.default_rng(0)

    def batch():
        inputs = random.normal(size=shape)
        return ml.Batch(tf.constant(inputs, dtype), tf.constant(inputs.sum(-1), dtype))

    return ml.Task(batch(), batch())


def squares(w, batch):
    return tf.reduce_mean(tf.square(tf.linalg.matvec(batch.inputs, w) - batch.targets))


def ridge(theta, phi, batch, model):
    return squares(theta["w"], batch) + tf.exp(phi["strength"]) * tf.reduce_sum(tf.square(theta["w"]))


def ridge_keeping_a_mean(theta, phi, batch, model):
    return ridge(theta, phi, batch, model), 0.9 * model + 0.1 * tf.reduce_mean(batch.inputs, 0)


def judged(theta, phi, task, model):
    return squares(theta["w"], task.query), {"largest": tf.reduce_max(theta["w"])}


def posed(**changes):
    """Return ridge regression of two learned parts as a bilevel problem, some of it changed."""
    return ml.BilevelProblem(
        **{
            "start": lambda phi, task: {"w": phi["start"]},
            "inner_loss": ridge,
            "outer_loss": judged,
            "rule": ml.rules.sgd(RATE),
            "steps": 3,
            **changes,
        }
    )


def with_state(**changes):
    """Return the same with a state of the model."""
    return posed(
        start=lambda phi, task: ml.Inner({"w": phi["start"]}, model=tf.zeros([3], tf.float64)),
        inner_loss=ridge_keeping_a_mean,
        **changes,
    )


RIGHT = {
    "float64": (posed(), phi_of(), tasks_of()),
    "float32": (posed(), phi_of(tf.float32), tasks_of(tf.float32)),
    "state": (with_state(), phi_of(), tasks_of()),
    "one after the other": (posed(mapping="sequential"), phi_of(), tasks_of()),
    "mini-batches": (posed(batch=slices(2), batches=2), phi_of(), tasks_of(shape=(2, 2, 4, 3))),
    "learned rate": (
        posed(rule=ml.rules.momentum(ml.rules.learned(RATE), 0.9), steps=2),
        phi_of() | {"rule": {"learning_rate": tf.constant(RATE, tf.float64)}},
        tasks_of(),
    ),
    "no steps": (
        posed(steps=0, outer_loss=lambda theta, phi, task, model: squares(theta["w"], task.query)),
        {"start": phi_of()["start"]},
        tasks_of(),
    ),
    "kink": (
        posed(
            inner_loss=lambda theta, phi, batch, model: (
                squares(theta["w"], batch) + tf.exp(phi["strength"]) * tf.reduce_sum(tf.abs(theta["w"]))
            ),
            start=lambda phi, task: {"w": phi["start"] - tf.stop_gradient(phi["start"])},
        ),
        phi_of(),
        tasks_of(),
    ),
    "a late batch": (
        posed(
            steps=6,
            inner_loss=lambda theta, phi, batch, model: (
                tf.reduce_sum(tf.square(theta["w"] - phi["start"])) + batch * phi["strength"] * theta["w"][0]
            ),
            batch=lambda task, step: tf.cast(tf.equal(step, 5), tf.float64),
        ),
        phi_of(),
        tasks_of(),
    ),
}


@tf.custom_gradient
def _wrongly_squared(x):
    return tf.square(x), lambda upstream: 2.2 * x * upstream


def _wrong_slope(theta, phi, batch, model):
    return squares(theta["w"], batch) + tf.exp(phi["strength"]) * tf.reduce_sum(_wrongly_squared(theta["w"]))


def _by_kind_of_step(task, step):
    return tf.nest.map_structure(lambda leaf: (1 if isinstance(step, int) else 2) * leaf, task.support)


def _noisy(theta, phi, batch, model):
    return ridge(theta, phi, batch, model) * (1 + tf.random.uniform([], dtype=phi["start"].dtype))


def _through_numpy(theta, phi, task, model):
    return squares(theta["w"], task.query) + float(np.sum(theta["w"].numpy()))


def _by_context(theta, phi, task, model):
    return squares(theta["w"], task.query) * (1.0 if tf.executing_eagerly() else 2.0)


def _with_weights(weights):
    """Return a problem with weights that its constructor would refuse, as another class may have."""
    problem = posed()
    object.__setattr__(problem, "step_weights", weights)
    return problem


WRONG = {
    "a function less": (SimpleNamespace(start=print, batch=print), "missing inner_loss, outer_loss"),
    "weights": (_with_weights(tf.ones([3])), "step_weights has the shape .4., got .3,."),
    "list of parameters": (posed(start=lambda phi, task: [phi["start"]]), "dict of tensors"),
    "vector inner loss": (
        posed(inner_loss=lambda theta, phi, batch, model: phi["strength"] * tf.square(theta["w"])),
        "inner_loss has to be a scalar for one task",
    ),
    "vector outer loss": (
        posed(outer_loss=lambda theta, phi, task, model: theta["w"]),
        "outer_loss has to be a scalar for one task",
    ),
    "vector metric": (
        posed(outer_loss=lambda theta, phi, task, model: (theta["w"][0], {"all": theta["w"]})),
        "the metric 'all' has to be a scalar",
    ),
    "whole loss": (
        posed(outer_loss=lambda theta, phi, task, model: tf.cast(theta["w"][0], tf.int32)),
        "floating point: outer_loss is int32",
    ),
    "growing state": (
        posed(
            inner_loss=lambda theta, phi, batch, model: (
                ridge(theta, phi, batch, model),
                {"seen": batch.inputs},
            )
        ),
        "the model's state after inner_loss has other parts",
    ),
    "noise": (posed(inner_loss=_noisy), "it is pure: a second call gives another inner_loss"),
    "kind of step": (posed(batch=_by_kind_of_step), "batch returns the same for the step 0"),
    "NumPy": (posed(outer_loss=_through_numpy), "works in a graph with mapping='auto'"),
    "context": (posed(outer_loss=_by_context), "outer_loss of task 0 differs"),
    "unused leaf": (
        posed(inner_loss=lambda theta, phi, batch, model: squares(theta["w"], batch)),
        "every leaf of phi has an effect: there is none of strength",
    ),
    "unused parameter": (
        posed(start=lambda phi, task: {"w": phi["start"], "v": phi["start"]}),
        "no gradient reaches v",
    ),
    "wrong slope": (posed(inner_loss=_wrong_slope), "central differences: not with respect to w"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_problems_pass(name):
    check_problem(*RIGHT[name])


@pytest.mark.parametrize("name", WRONG)
def test_wrong_problems_are_named(name):
    problem, message = WRONG[name]
    with pytest.raises(AssertionError, match=message):
        check_problem(problem, phi_of(), tasks_of())


def test_a_wrong_slope_shows_in_float32():
    with pytest.raises(AssertionError, match="w, along which the slope is"):
        check_problem(posed(inner_loss=_wrong_slope), phi_of(tf.float32), tasks_of(tf.float32))


def test_a_meta_learner_poses_a_right_problem(sinusoids):
    learner = ml.MetaLearner(
        ml.models.mlp(input_size=1, hidden=(4,), output_size=1, activation="tanh", dtype="float64"),
        loss=ml.losses.mse,
        rule=ml.rules.sgd(RATE),
        steps=2,
    )
    check_problem(*learner.posed(learner.initialize(0), sinusoids, (0, 0)))


def test_tasks_and_phi_are_named():
    tasks = tasks_of()
    with pytest.raises(AssertionError, match="floating-point tensors: start is"):
        check_problem(posed(), {"start": tf.constant([1, 2, 3])}, tasks)
    uneven = tasks._replace(query=tf.nest.map_structure(lambda leaf: leaf[:1], tasks.query))
    with pytest.raises(AssertionError, match="a leading axis of the same length T"):
        check_problem(posed(), phi_of(), uneven)
