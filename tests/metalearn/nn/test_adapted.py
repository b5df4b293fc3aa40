"""Selection of adapted parameters: patterns, completeness, and learners with them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import metalearn as ml
from metalearn.nn.adapted import partition, select, select_from

LAYERS = keras.layers
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
    """A context starts at zero in every task and takes the gradient step; all else is shared (CAVIA)."""
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


class HeadFirst(keras.Model):
    """A model that declares its head before its body, and ends in an activation."""

    def __init__(self):
        super().__init__()
        self.head = LAYERS.Dense(2, name="head")
        self.body = LAYERS.Dense(3, "relu", name="body")

    def call(self, inputs):
        return tf.nn.softmax(self.head(self.body(inputs)))


class InOneFunction(HeadFirst):
    """A model that calls both layers in one function, so that their order cannot be observed."""

    def call(self, inputs):
        return tf.function(super().call, autograph=False)(inputs)


def subclassed(kind):
    model = kind()
    model(tf.ones((1, 2)))
    return model


def functional_models():
    """Return models by name, with the layers that produce their outputs, as listed by hand."""
    vector, sequence, image = keras.Input((4,)), keras.Input((5, 4)), keras.Input((6, 6, 1))
    hidden = LAYERS.Dense(3, "relu", name="hidden")(vector)
    a, b = LAYERS.Dense(1, name="a"), LAYERS.Dense(2, name="b")
    two = keras.Model(vector, {"a": LAYERS.ReLU()(a(hidden)), "b": LAYERS.Dropout(0.5)(b(hidden))})
    shared = LAYERS.Dense(4, name="shared")
    tied = keras.Model(vector, shared(LAYERS.Dense(4, name="between")(shared(vector))))
    normed = LAYERS.BatchNormalization(name="norm")(LAYERS.Conv2D(2, 3, padding="same")(image))
    residual = keras.Model(image, LAYERS.ReLU()(normed + LAYERS.Conv2D(2, 1, name="skip")(image)))
    both = LAYERS.Bidirectional(LAYERS.GRU(2), name="both")(LAYERS.Dense(3)(sequence))
    attended = LAYERS.MultiHeadAttention(2, 3, name="attention")(sequence, sequence)
    nested = keras.Sequential([LAYERS.Dense(3, name="x"), LAYERS.Dense(2, name="y")], name="nested")
    return {
        "two": (two, ["a", "b"]),
        "tied": (tied, ["shared"]),
        "residual": (residual, ["norm", "skip"]),
        "recurrent": (
            keras.Model(sequence, both),
            ["both/forward_gru/gru_cell", "both/backward_gru/gru_cell"],
        ),
        "attention": (keras.Model(sequence, attended), ["attention/attention_output"]),
        "nested": (keras.Model(vector, nested(hidden)), ["nested/y"]),
        "subclassed": (subclassed(HeadFirst), ["head"]),
        "mlp": (ml.models.mlp(4), ["output"]),
        "context": (ml.models.context_mlp(4, hidden=()), ["output"]),
    }


@pytest.mark.parametrize("name", list(functional_models()))
def test_the_head_is_what_the_outputs_come_from(name):
    """The head is the layer that produces the outputs, and the body all other layers except a context."""
    model, layers = functional_models()[name]
    keys = list(ml.functional.parameters(model))
    head = select_from(model, "head")
    assert list(dict.fromkeys(key.rpartition("/")[0] for key in head)) == layers
    assert head == [key for key in keys if key.rpartition("/")[0] in layers]
    body = [key for key in keys if key not in head and not key.startswith("context/")]
    if body:
        assert select_from(model, "body") == body


def test_frozen_layers_are_no_head():
    """The head is the last trainable layer."""
    model = ml.models.mlp(2, (3, 3))
    model.get_layer("output").trainable = False
    assert select_from(model, "head") == ["hidden_1/kernel", "hidden_1/bias"]


def test_a_head_that_is_not_to_be_found_is_refused():
    """If the head cannot be determined, the error lists the keys."""
    with pytest.raises(ValueError, match=r"body, head are called within one tf.function.*'head/kernel'"):
        select_from(subclassed(InOneFunction), "head")


def named(*names):
    return keras.Sequential([keras.Input((3,)), *(LAYERS.Dense(3, name=name) for name in names)])


def test_names_that_could_mean_two_layers_are_refused():
    """A pattern that matches one layer by its name and another by its key is an error.

    ``dense_2`` is the name of the second layer, and the key of the third.
    """
    model = named("dense_1", "dense_2", "dense_3")
    for pattern in ("dense_1/*", "dense_2/kernel", "dense_3/*", "all|dense_2/*"):
        with pytest.raises(ValueError, match=r"is ambiguous.*dense_1/kernel \(named dense_2/kernel\)"):
            select_from(model, pattern)
    assert (
        select_from(model, "*/bias")
        == select_from(model, "dense*/bias")
        == [*("dense/bias", "dense_1/bias", "dense_2/bias")]
    )


@pytest.mark.parametrize(
    "names", [("dense", "dense_1", "dense_2"), ("d_1", "d_2", "d_3"), ("enc_dense_1", "enc_dense_2", "x")]
)
def test_other_names_mean_what_they_say(names):
    """User-defined names select their layer, whatever layers were created before."""
    for place, name in enumerate(names):
        model = named(*names)
        assert select_from(model, f"{name}/*") == [f"{name}/kernel", f"{name}/bias"]
        assert model.layers[place].name == name
