"""Which parameters are adapted: the patterns, that nothing is lost, and what learners make of them."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import metalearn as ml
from metalearn.nn.adapted import partition, select

KEYS = ["context/context", "hidden_0/kernel", "hidden_0/bias", "norm/gamma", "output/kernel", "output/bias"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("all", KEYS),
        ("head", KEYS[4:]),
        ("body", KEYS[1:4]),
        ("context", KEYS[:1]),
        ("head|context", [KEYS[0], *KEYS[4:]]),
        ("*/bias", [KEYS[2], KEYS[5]]),
        ("hidden_?/*", KEYS[1:3]),
        ("norm/*|hidden_0/kernel", [KEYS[1], KEYS[3]]),
    ],
)
def test_patterns(pattern, expected):
    assert select(pattern, KEYS) == expected


@pytest.mark.parametrize("pattern", ["", "tail", "head|tail", "Hidden_0/*", "head,body"])
def test_what_matches_nothing_is_named(pattern):
    with pytest.raises(ValueError, match="matches none of the parameters"):
        select(pattern, KEYS)


def test_one_layer_has_no_body():
    with pytest.raises(ValueError, match="'body' matches none"):
        select("body", KEYS[4:])


@given(st.sets(st.sampled_from(KEYS)))
def test_partition_and_recombine(chosen):
    whole = {key: object() for key in KEYS}
    picked, rest = partition(whole, chosen)
    assert set(picked) == chosen
    assert not set(picked) & set(rest)
    assert {**rest, **picked} == whole


def test_context_is_reset_in_every_task_and_is_no_meta_parameter():
    """Adaptation of a context model equals adaptation, by hand, of zeros; the rest is shared (CAVIA)."""
    model = ml.models.context_mlp(hidden=(4,), context=2, activation="tanh", dtype="float64")
    learner = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(1.0), adapted="context")
    meta = learner.initialize(0)
    assert "context/context" not in meta["parameters"]
    tasks = tf.nest.map_structure(
        lambda leaf: tf.cast(leaf, tf.float64), ml.tasks.Sinusoid().sample((0, 0), 2)
    )
    fitted = learner.adapt(meta, tasks.support).parameters
    for task in range(2):
        context = tf.zeros(2, tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(context)
            complete = {**meta["parameters"], "context/context": context}
            outputs = ml.functional.apply(model, complete, tasks.support.inputs[task])
            loss = ml.losses.mse(tasks.support.targets[task], outputs)
        expected = -tape.gradient(loss, context)
        np.testing.assert_allclose(fitted["context/context"][task], expected, rtol=1e-12)
        for key, value in meta["parameters"].items():
            np.testing.assert_array_equal(fitted[key][task], value)
