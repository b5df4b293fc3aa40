"""Which initial parameters tasks share: equal meta-gradients, and no copies of their kernels."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.estimators import backward
from metalearn.estimators.working_set import working_set

T, UNITS, MANY, FEW = 3, 8, 24, 12

KERNEL = "hidden_1/kernel"


def made(examples, rule=None, **settings):
    """Return a learner, meta-parameters and tasks, in float64."""
    model = ml.models.mlp(hidden=(UNITS, UNITS), activation=tf.sin, dtype="float64")
    learner = ml.MetaLearner(model, ml.losses.mse, rule or ml.rules.sgd(0.05), **settings)
    tasks = ml.tasks.Sinusoid(examples, examples).sample((0, 1), T)
    return learner, learner.initialize(0), tf.nest.map_structure(lambda x: tf.cast(x, tf.float64), tasks)


def shared(examples, rule=None, **settings):
    posed = made(examples, rule, **settings)[0].posed(*made(examples, rule, **settings)[1:], (0, 0))
    with tf.Graph().as_default():
        return working_set(posed.problem, posed.phi, posed.tasks).shared


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"examples": MANY}, {KERNEL}),
        ({"examples": MANY, "rule": ml.rules.sgd(ml.rules.learned(0.05))}, {KERNEL}),
        ({"examples": FEW}, set()),  # its change is a sum, which XLA would compute again for each entry
        ({"examples": MANY, "rule": ml.rules.adam(0.05)}, set()),
        ({"examples": MANY, "steps": 2}, set()),
        ({"examples": MANY, "mapping": "sequential"}, set()),
        ({"examples": MANY, "adapted": "head"}, set()),
    ],
    ids=str,
)
def test_kernels_that_products_of_many_examples_are_added_to_are_shared(settings, names):
    """In one step; those of a single row or column are not."""
    assert shared(**{"mapping": "vectorized", **settings}) == names


@pytest.mark.parametrize("estimator", [ml.estimators.checkpointed(), ml.estimators.first_order()], ids=str)
@pytest.mark.parametrize("rate", [0.05, ml.rules.learned(0.05)], ids=str)
def test_meta_gradients_do_not_depend_on_it(estimator, rate, monkeypatch):
    """Meta-gradients, also of each task, and adapted parameters equal those with copies, to 1e-13."""
    found = []
    for there in (True, False):
        if not there:
            monkeypatch.setattr(
                backward, "working_set", lambda *given: working_set(*given)._replace(shared=())
            )
        learner, meta, tasks = made(MANY, ml.rules.sgd(rate), estimator=estimator)
        result = learner.meta_gradient(meta, tasks, (0, 1))
        found.append((result.gradient, result.per_task, result.inner, result.loss))
    for one, other in zip(*map(tf.nest.flatten, found), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13 * max(np.abs(other).max(), 1e-3))


def test_products_with_a_shared_kernel_are_those_of_all_tasks(with_xla, monkeypatch):
    """In the compiled meta-gradient, four: two of the inner gradient, and two of its derivative."""
    learner, meta, tasks = made(MANY)

    def of_all_tasks():
        program = with_xla(lambda meta, tasks: learner.meta_gradient(meta, tasks).gradient)
        text = program.experimental_get_compiler_ir(meta, tasks)(stage="optimized_hlo")
        return len(re.findall(rf"= f64\[{T * MANY},{UNITS}\]\S* dot\(", text))

    assert of_all_tasks() == 4
    monkeypatch.setattr(backward, "working_set", lambda *given: working_set(*given)._replace(shared=()))
    learner = dataclasses.replace(learner)
    assert of_all_tasks() == 0
