"""Rules as records: equality, hash, and a repr that can be evaluated."""

import copy
import dataclasses
import pickle

import keras
import numpy as np
import pytest

from metalearn import rules
from metalearn.rules import learned, sgd

SCHEDULES = keras.optimizers.schedules
NAMESPACE = {**vars(rules), **vars(SCHEDULES)}

RULES = [
    *(factory() for name in rules.__all__ if hasattr(factory := getattr(rules, name), "move")),
    rules.alfa(learned(0.1, "variable", 3, positive=True)),
    rules.kfo(0.1),
    rules.kfo(learned(0.1), adapted=False),
    rules.rmsprop(1, centered=True, momentum=learned(0.5, within=(0, 1))),
    rules.clip_by_value(rules.clip_by_value(rules.adam(0.1), learned(0.5)), learned(0.25, steps=2)),
    rules.weight_decay(rules.clip_by_global_norm(rules.meta_curvature(rules.sgd()), 2.0), 0.0),
    rules.sgd(SCHEDULES.PiecewiseConstantDecay([1, 4], [0.5, 0.25, 0.125])),
    rules.sgd(SCHEDULES.CosineDecay(0.1, 4, warmup_target=0.5, warmup_steps=2)),
    rules.momentum(SCHEDULES.ExponentialDecay(0.5, 3, 0.7, staircase=True, name="rate"), np.float64(0.5)),
    rules.sgd(SCHEDULES.PolynomialDecay(0.5, np.int64(4), power=np.float32(2))),
]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_repr_can_be_pasted_back(rule):
    again = eval(repr(rule), dict(NAMESPACE))
    assert again == rule
    assert hash(again) == hash(rule)
    assert again is not rule
    assert copy.deepcopy(rule) == rule
    assert pickle.loads(pickle.dumps(rule)) == rule


def test_all_are_different():
    assert len(set(RULES)) == len(RULES)
    assert all(one != other for index, one in enumerate(RULES) for other in RULES[:index])


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (sgd(0.01), "sgd(learning_rate=0.01)"),
        (sgd(np.float64(0.01)), "sgd(learning_rate=0.01)"),
        (
            sgd(learned(np.float64(0.1), steps=np.int64(2))),
            "sgd(learning_rate=learned(initial=0.1, steps=2))",
        ),
        (
            sgd(SCHEDULES.CosineDecay(np.float64(0.1), 4)),
            "sgd(learning_rate=CosineDecay(initial_learning_rate=0.1, decay_steps=4))",
        ),
    ],
)
def test_what_is_printed(rule, text):
    assert repr(rule) == text


def test_numbers_of_numpy_are_those_of_python():
    for number in (np.float64(0.5), np.float32(0.5), np.float16(0.5)):
        assert sgd(number) == sgd(0.5)
        assert hash(sgd(learned(number))) == hash(sgd(learned(0.5)))
    assert sgd(1) == sgd(1.0) == sgd(np.int32(1))


def test_schedules_are_compared_by_class_and_configuration():
    decay = SCHEDULES.ExponentialDecay
    assert sgd(decay(0.5, 3, 0.7)) == sgd(decay(0.5, 3, 0.7))
    assert sgd(decay(0.5, 3, 0.7)) != sgd(decay(0.5, 3, 0.8))
    assert sgd(decay(0.5, 3, 0.7)) != sgd(SCHEDULES.InverseTimeDecay(0.5, 3, 0.7))


def test_a_schedule_that_does_not_tell_its_configuration_equals_itself():
    class Own(SCHEDULES.LearningRateSchedule):
        def __call__(self, step):
            return 0.1

    own = Own()
    assert sgd(own) == sgd(own) != sgd(Own())
    assert hash(sgd(own)) == hash(sgd(own))


def test_settings_can_be_read_and_replaced_but_not_assigned():
    rule = rules.adam(0.1)
    assert (rule.learning_rate, rule.beta_1) == (0.1, 0.9)
    assert dataclasses.replace(rule, beta_1=0.5) == rules.adam(0.1, 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.learning_rate = 0.2
    with pytest.raises(ValueError, match="learning_rate"):
        dataclasses.replace(rule, learning_rate=-1)
