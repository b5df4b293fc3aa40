"""Programs of a learner: traced once for all values, and not separate within a graph."""

import copy
import gc
import logging

import numpy as np
import tensorflow as tf

import metalearn as ml
from metalearn.execution.programs import traced_once

TASKS = ml.tasks.Sinusoid(shots=3, queries=3)


class Owner:
    """Counts how often its function is run by Python."""

    def __init__(self, factor):
        self.factor, self.runs = factor, 0


def scaled(owner, power, x):
    owner.runs += 1
    return owner.factor * x["x"] ** power


def test_a_new_shape_or_setting_is_traced_and_a_new_value_is_not():
    owner = Owner(3.0)
    for value in (1.0, 2.0, np.float32(5.0)):
        assert float(traced_once(owner, scaled, 2)({"x": value})) == 3 * value**2
    assert owner.runs == 1
    assert float(traced_once(owner, scaled, 3)({"x": 2.0})) == 24
    assert traced_once(owner, scaled, 3)({"x": np.float32([1, 2])}).numpy().tolist() == [3, 24]
    assert owner.runs == 3


def test_another_owner_has_programs_of_its_own():
    """Programs are stored for each owner; a deep copy has its own, because its settings may change."""
    owner = Owner(3.0)
    traced_once(owner, scaled, 1)({"x": 1.0})
    other = copy.deepcopy(owner)
    other.factor = 5.0
    assert float(traced_once(other, scaled, 1)({"x": 1.0})) == 5
    assert float(traced_once(owner, scaled, 1)({"x": 1.0})) == 3


def test_within_a_graph_it_is_the_function_itself():
    owner = Owner(2.0)
    program = tf.function(lambda x: traced_once(owner, scaled, 1)({"x": x}), autograph=False)
    assert float(program(tf.constant(4.0))) == 8
    operations = [
        each.type for each in program.get_concrete_function(tf.TensorSpec([])).graph.get_operations()
    ]
    assert not [kind for kind in operations if "Call" in kind]


def test_eager_calls_keep_no_graphs_and_do_not_warn(caplog, monkeypatch):
    """Further eager calls leave no graphs in memory, and many learners cause no warning of retracing."""
    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    caplog.set_level(logging.WARNING)
    learner = ml.MetaLearner(ml.models.mlp(hidden=()), "mse", "sgd")
    meta, tasks = learner.initialize(0), TASKS.sample((0, 0), 2)

    def call(seed, learner=learner):
        found = learner.meta_gradient(meta, tasks, (0, seed))
        learner.losses(meta, tasks, found.inner)
        learner.predict(learner.adapt(meta, tasks.support), tasks.query.inputs)

    def alive(calls):
        for seed in calls:
            call(seed)
        gc.collect()
        return sum(type(each).__name__ == "FuncGraph" for each in gc.get_objects())

    after_three = alive(range(3))
    assert alive(range(3, 10)) == after_three > 0
    inputs = tasks.query.inputs[:1]
    for rate in range(1, 7):
        other = ml.MetaLearner(learner.model, "mse", ml.rules.sgd(float(rate)))
        other.predict(tf.nest.map_structure(lambda leaf: leaf[None], meta["parameters"]), inputs)
    assert not [record.getMessage() for record in caplog.records if "retracing" in record.getMessage()]
