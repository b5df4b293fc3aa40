"""A Keras model as a pure function: stable keys, equal outputs, fresh parameters from a seed."""

import inspect
import json
import pathlib
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


def build_models():
    """Return models of many kinds, built, with automatic names wherever Keras gives them."""
    layers = keras.layers

    class Listed(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = layers.Dense(2)
            self.rest = [layers.Dense(3), layers.Dense(1)]
            self.scale = self.add_weight(shape=(3,), name="scale")

        def call(self, inputs, training=None):
            return self.rest[1](self.rest[0](self.first(inputs)) * self.scale)

    inner = keras.Sequential([layers.Dense(3), layers.Dense(3, name="head")])
    nested = keras.Sequential([keras.Input((2,)), layers.Dense(2), inner, layers.Dense(1)])
    sequence = keras.Input((5, 4))
    attended = layers.MultiHeadAttention(2, 3)(sequence, sequence)
    attention = keras.Model(sequence, layers.Dense(1)(attended))
    recurrent = keras.Sequential([keras.Input((5, 2)), layers.Bidirectional(layers.LSTM(3)), layers.Dense(1)])
    images = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Dropout(0.5)]
    )
    listed = Listed()
    listed(np.zeros((1, 2), "float32"))
    return {
        "nested": nested,
        "attention": attention,
        "recurrent": recurrent,
        "images": images,
        "listed": listed,
    }


def all_keys(models):
    """Return the keys of parameters and of state of every model, in order."""
    return {
        name: [list(ml.functional.parameters(model)), list(ml.functional.state(model))]
        for name, model in models.items()
    }


@pytest.fixture(scope="module")
def models():
    """Return the models of a second build, when Keras' automatic names have moved on."""
    build_models()
    return build_models()


def test_keys_are_readable(models):
    """Paths inside the model, automatic names numbered by place; all worked out by hand."""
    keys = all_keys(models)
    assert keys["nested"][0] == [
        *("dense/kernel", "dense/bias"),
        *("sequential/dense/kernel", "sequential/dense/bias"),
        *("sequential/head/kernel", "sequential/head/bias"),
        *("dense_1/kernel", "dense_1/bias"),
    ]
    assert keys["listed"][0] == [
        *("dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"),
        *("dense_2/kernel", "dense_2/bias", "scale"),
    ]
    assert keys["attention"][0][::2] == [
        *(f"multi_head_attention/{part}/kernel" for part in ("query", "key", "value", "attention_output")),
        "dense/kernel",
    ]
    assert keys["recurrent"][0][:3] == [
        f"bidirectional/forward_lstm/lstm_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")
    ]
    assert [key.split("/")[0] for key in keys["images"][1]] == [
        *("batch_normalization", "batch_normalization", "dropout")
    ]


def test_keys_are_unique_and_complete(models):
    """Every variable has a key of its own, and its own value under it."""
    for model in models.values():
        values = [*ml.functional.parameters(model).values(), *ml.functional.state(model).values()]
        assert len(values) == len(model.variables)
        assert len(ml.functional.parameters(model)) == len(model.trainable_variables)
        norms = sorted(float(np.sum(np.square(np.float64(value)))) for value in values)
        own = sorted(float(np.sum(np.square(np.float64(variable.numpy())))) for variable in model.variables)
        assert norms == own


def test_keys_are_the_same_in_every_process(models):
    """Another process, where no layer was made before, gives equal keys."""
    functions = "".join(map(inspect.getsource, (build_models, all_keys)))
    imports = "import json, keras\nimport numpy as np\nimport metalearn as ml\n"
    program = f"{imports}{functions}print(json.dumps(all_keys(build_models())))"
    root = pathlib.Path(ml.__file__).parents[1]
    process = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, check=True)
    assert json.loads(process.stdout.splitlines()[-1]) == all_keys(models)


def test_equal_explicit_names_are_told_apart():
    """Two sublayers called ``a`` in different parents, and two in the same one, have different keys."""

    class Twins(keras.layers.Layer):
        def __init__(self, name):
            super().__init__(name=name)
            self.one, self.two = keras.layers.Dense(2, name="a"), keras.layers.Dense(2, name="a")

        def call(self, inputs):
            return self.two(self.one(inputs))

    model = keras.Sequential([keras.Input((2,)), Twins("left"), Twins("right")])
    keys = [key for key in ml.functional.parameters(model) if key.endswith("kernel")]
    assert keys == ["left/a/kernel", "left/a_1/kernel", "right/a/kernel", "right/a_1/kernel"]


def test_shared_layers_have_one_key():
    """A layer used twice is one set of parameters."""
    shared, inputs = keras.layers.Dense(2, name="shared"), keras.Input((2,))
    model = keras.Model(inputs, shared(shared(inputs)))
    assert list(ml.functional.parameters(model)) == ["shared/kernel", "shared/bias"]


def test_frozen_layers_are_state():
    """What is not trainable is not among the parameters."""
    model = ml.models.mlp(hidden=(2,))
    model.get_layer("hidden_0").trainable = False
    assert list(ml.functional.parameters(model)) == ["output/kernel", "output/bias"]
    assert list(ml.functional.state(model)) == ["hidden_0/kernel", "hidden_0/bias"]


@pytest.mark.parametrize("function", ["parameters", "state"])
def test_unbuilt_models_are_refused(function):
    """The message says what to do about it."""
    model = keras.Sequential([keras.layers.Dense(2)], name="fresh")
    with pytest.raises(ValueError, match=r"'fresh' is not built .*call it once"):
        getattr(ml.functional, function)(model)


class TestInitialize:
    """Fresh parameters, as a pure function of the seed."""

    @pytest.fixture
    def model(self):
        """Return a model with two layers of equal shape, a constant one, and values that are not fresh."""
        layers = [
            keras.layers.Dense(4, name="first"),
            keras.layers.Dense(4, name="second"),
            keras.layers.Dense(4, name="fixed", kernel_initializer=keras.initializers.Constant(0.25)),
        ]
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.set_weights([value + 1 for value in model.get_weights()])
        return model

    def test_same_seed_same_bits(self, model):
        """Twice the same, and again in a model built anew."""
        first = ml.functional.initialize(model, 3)
        assert list(first) == list(ml.functional.parameters(model))
        for again in (model, keras.models.clone_model(model)):
            drawn = ml.functional.initialize(again, 3)
            assert all(np.array_equal(first[key], drawn[key]) for key in first)

    def test_seeds_and_layers_differ(self, model):
        """Other seeds give other weights, and layers of equal shape differ under the same seed."""
        drawn = [ml.functional.initialize(model, seed) for seed in (0, 1, 2**40)]
        weights = [values[f"{name}/kernel"].numpy() for values in drawn for name in ("first", "second")]
        assert np.unique(np.stack(weights)).size == 6 * 16

    def test_initializers_are_the_layers_own(self, model):
        """Biases are zero, a constant stays what it is, Glorot stays within ``sqrt(6 / 8)``."""
        drawn = ml.functional.initialize(model, 0)
        for name in ("first", "second", "fixed"):
            np.testing.assert_array_equal(drawn[f"{name}/bias"], np.zeros(4))
        np.testing.assert_array_equal(drawn["fixed/kernel"], np.full((4, 4), 0.25))
        assert 0.5 < np.abs(drawn["first/kernel"]).max() <= np.sqrt(6 / 8)

    def test_nothing_else_changes(self, model):
        """The model keeps its variables, and no global generator moves."""
        before = [value.copy() for value in model.get_weights()]
        keras.utils.set_random_seed(5)
        states = random.getstate(), np.random.get_state()[1].copy()
        expected = float(keras.random.uniform(()))
        keras.utils.set_random_seed(5)
        ml.functional.initialize(model, 0)
        assert random.getstate() == states[0]
        np.testing.assert_array_equal(np.random.get_state()[1], states[1])
        assert float(keras.random.uniform(())) == expected
        assert all(map(np.array_equal, before, model.get_weights()))

    def test_forget_gates_start_open(self):
        """An LSTM's forget bias starts at 1, as Keras starts it: ``unit_forget_bias`` is on."""
        model = keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(3)])
        bias = ml.functional.initialize(model, 0)["lstm/lstm_cell/bias"]
        np.testing.assert_array_equal(bias, [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0])

    def test_functions_may_initialize(self):
        """Keras takes any ``(shape, dtype) -> tensor`` for an initializer."""
        layer = keras.layers.Dense(2, kernel_initializer=lambda shape, dtype=None: tf.fill(shape, 0.5))
        drawn = ml.functional.initialize(keras.Sequential([keras.Input((2,)), layer]), 0)
        np.testing.assert_array_equal(drawn["dense/kernel"], np.full((2, 2), 0.5))


class TestApply:
    """Outputs equal the model's own, and the model does not change."""

    @pytest.fixture
    def inputs(self):
        """Return eight examples of two numbers."""
        return tf.constant(np.random.default_rng(0).normal(size=(8, 2)), tf.float32)

    @staticmethod
    def build(*layers):
        """Return a Sequential model on two inputs."""
        return keras.Sequential([keras.Input((2,)), *layers])

    def test_dense(self, inputs):
        """With its own parameters the model's outputs, with others those of a model that holds them."""
        model = self.build(keras.layers.Dense(3, "tanh"), keras.layers.Dense(1))
        parameters = ml.functional.parameters(model)
        np.testing.assert_array_equal(ml.functional.apply(model, parameters, inputs), model(inputs))
        doubled = {key: 2 * value for key, value in parameters.items()}
        outputs = ml.functional.apply(model, doubled, inputs)
        before = model.get_weights()
        model.set_weights([2 * value for value in before])
        np.testing.assert_array_equal(outputs, model(inputs))
        assert all(
            np.array_equal(parameters[key], value) for key, value in zip(parameters, before, strict=True)
        )

    def test_dropout(self, inputs):
        """The mask is a function of the state given; after the call the state is another."""
        model = self.build(keras.layers.Dropout(0.5, seed=3), keras.layers.Dense(8))
        parameters, state = ml.functional.parameters(model), ml.functional.state(model)
        arguments = {"state": state, "training": True}
        outputs, after = ml.functional.apply_with_state(model, parameters, inputs, **arguments)
        np.testing.assert_array_equal(ml.functional.apply(model, parameters, inputs, **arguments), outputs)
        np.testing.assert_array_equal(model(inputs, training=True), outputs)
        assert not np.array_equal(
            ml.functional.apply(model, parameters, inputs, state=after, training=True), outputs
        )
        np.testing.assert_array_equal(ml.functional.apply(model, parameters, inputs), model(inputs))

    def test_batch_normalization(self, inputs):
        """Batch statistics in training, moving ones otherwise; new moving ones are returned, not kept."""
        model = self.build(keras.layers.BatchNormalization(momentum=0.9))
        parameters, state = ml.functional.parameters(model), ml.functional.state(model)
        still, unmoved = ml.functional.apply_with_state(model, parameters, inputs)
        np.testing.assert_array_equal(still, model(inputs, training=False))
        assert all(np.array_equal(unmoved[key], state[key]) for key in state)

        outputs, after = ml.functional.apply_with_state(model, parameters, inputs, training=True)
        mean = 0.1 * inputs.numpy().mean(0)
        variance = 0.9 + 0.1 * inputs.numpy().var(0)
        np.testing.assert_allclose(after["batch_normalization/moving_mean"], mean, rtol=1e-5)
        np.testing.assert_allclose(after["batch_normalization/moving_variance"], variance, rtol=1e-5)
        untouched = ml.functional.state(model)
        assert all(np.array_equal(untouched[key], state[key]) for key in state)
        np.testing.assert_allclose(outputs, model(inputs, training=True), rtol=1e-6)
        moved = ml.functional.state(model)
        assert all(np.array_equal(moved[key], after[key]) for key in after)

    @pytest.mark.parametrize("training", [False, True])
    def test_models_whose_call_takes_no_training_flag(self, inputs, training):
        """Keras hands the flag to the layers inside by itself; so must ``apply``."""

        class Plain(keras.Model):
            def __init__(self):
                super().__init__()
                self.inner = keras.layers.BatchNormalization()

            def call(self, inputs):
                return self.inner(inputs)

        model = Plain()
        model(inputs)
        outputs = ml.functional.apply(model, ml.functional.parameters(model), inputs, training=training)
        np.testing.assert_allclose(outputs, model(inputs, training=training), rtol=1e-6)

    @pytest.mark.parametrize("what", ["parameters", "state"])
    def test_other_keys_are_refused(self, inputs, what):
        """Missing and unknown keys are named."""
        model = self.build(keras.layers.BatchNormalization(name="norm"))
        values = {"parameters": ml.functional.parameters(model), "state": ml.functional.state(model)}
        missing, *_ = values[what]
        values[what]["other"] = values[what].pop(missing)
        with pytest.raises(ValueError, match=rf"{what} do not fit .*missing \['{missing}'\], .*\['other'\]"):
            ml.functional.apply(model, values["parameters"], inputs, state=values["state"])


class Penalised(keras.Layer):
    """A layer of other origin that adds a loss of its weight and its inputs, and one that is no scalar."""

    def build(self, shape):
        self.w = self.add_weight(shape=shape[-1:], name="w")

    def call(self, inputs):
        self.add_loss(tf.reduce_mean(tf.square(inputs * self.w)))
        self.add_loss(tf.square(self.w))
        return inputs * self.w


class TestCall:
    """Outputs, losses and state of one call."""

    @pytest.fixture
    def inputs(self):
        """Return eight examples of two numbers."""
        return tf.constant(np.random.default_rng(0).normal(size=(8, 2)))

    @staticmethod
    def penalised():
        """Return a model with every kind of loss, in float64."""
        keras.utils.set_random_seed(0)
        frozen = keras.layers.Dense(3, kernel_regularizer="l2", dtype="float64", name="frozen")
        frozen.trainable = False
        inner = keras.layers.Dense(
            3,
            kernel_regularizer=keras.regularizers.L1(0.125),
            bias_regularizer=keras.regularizers.L1L2(0.25, 0.375),
            activity_regularizer=keras.regularizers.L2(0.5),
            bias_initializer="ones",
            dtype="float64",
            name="inner",
        )
        return keras.Sequential(
            [
                keras.Input((2,), dtype="float64"),
                keras.Sequential([inner], name="nested"),
                frozen,
                Penalised(name="own", dtype="float64"),
            ]
        )

    def test_losses_are_those_of_the_given_parameters(self, inputs, in_graph):
        """L1, L2, activity by example, ``add_loss`` and gradients against NumPy; none of frozen weights."""
        model = self.penalised()
        rng = np.random.default_rng(1)
        p = {k: tf.constant(rng.normal(size=v.shape)) for k, v in ml.functional.parameters(model).items()}
        frozen = model.get_layer("frozen").kernel.value.numpy()

        def by_hand(w, b, c):
            hidden = inputs.numpy() @ w + b
            return (
                0.125 * abs(w).sum()
                + (0.25 * abs(b) + 0.375 * b**2).sum()
                + 0.5 * (hidden**2).sum() / 8
                + np.mean((hidden @ frozen * c) ** 2)
                + (c**2).sum()
            )

        def losses(parameters):
            with tf.GradientTape() as tape:
                tape.watch(parameters)
                total = ml.functional.call(model, parameters, inputs)[1]
            return total, tape.gradient(total, parameters)

        keys = ("nested/inner/kernel", "nested/inner/bias", "own/w")
        for function in (losses, in_graph(losses), losses):
            total, gradient = function(p)
            assert total.shape == ()
            np.testing.assert_allclose(total, by_hand(*(p[key].numpy() for key in keys)), rtol=1e-12)
        for place, key in enumerate(keys):
            values, direction = [p[key].numpy() for key in keys], rng.normal(size=p[key].shape)
            ends = []
            for step in (1e-6, -1e-6):
                ends.append(by_hand(*values[:place], values[place] + step * direction, *values[place + 1 :]))
            slope = (ends[0] - ends[1]) / 2e-6
            np.testing.assert_allclose(np.sum(gradient[key] * direction), slope, rtol=1e-7)

    def test_the_losses_of_the_model_are_left_alone(self, inputs):
        """A call of its own gives the same after as before, and nothing is counted twice."""
        model = self.penalised()
        model(inputs)
        before, parameters = float(sum(map(tf.reduce_sum, model.losses))), ml.functional.parameters(model)
        for _ in range(3):
            total = ml.functional.call(model, parameters, inputs)[1]
            np.testing.assert_allclose(total, before, rtol=1e-12)
        assert not any(layer._loss_ids for layer in model._flatten_layers())
        model(inputs)
        np.testing.assert_allclose(float(sum(map(tf.reduce_sum, model.losses))), before, rtol=1e-15)

    def test_losses_of_mixed_types_are_added_in_the_wider(self):
        """Activity in half precision, weights in single."""
        layer = keras.layers.Dense(
            2, kernel_regularizer="l2", activity_regularizer="l2", dtype="mixed_float16", name="dense"
        )
        model = keras.Sequential([keras.Input((2,)), layer])
        total = ml.functional.call(model, ml.functional.parameters(model), tf.ones((4, 2)))[1]
        assert total.dtype == tf.float32
        kernel = layer.kernel.value.numpy()
        expected = 0.01 * (np.sum(kernel**2) + np.sum(kernel.sum(0) ** 2))
        np.testing.assert_allclose(total, expected, rtol=5e-3)

    def test_most_models_have_none(self, in_graph):
        """Nothing is added to the graph: its operations are those of a call of the model."""
        model, inputs = ml.models.mlp(2), tf.ones((3, 2))
        parameters = ml.functional.parameters(model)
        outputs, losses, state = ml.functional.call(model, parameters, inputs)
        assert losses is None
        assert state == {}
        np.testing.assert_array_equal(outputs, model(inputs))
        graphs = [
            [
                operation.type
                for operation in in_graph(function).get_concrete_function().graph.get_operations()
            ]
            for function in (
                lambda: ml.functional.call(model, parameters, inputs)[0],
                lambda: model(inputs),
            )
        ]
        without_reads = [
            [
                kind
                for kind in graph
                if kind not in ("ReadVariableOp", "Placeholder", "Identity", "Const", "NoOp")
            ]
            for graph in graphs
        ]
        assert without_reads[0] == without_reads[1]

    def test_several_inputs_and_outputs(self):
        """Dicts and lists, in functional and in subclassed models."""
        a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
        ones = {"a": tf.ones((4, 2)), "b": tf.ones((4, 3))}

        class Sum(keras.Model):
            def __init__(self):
                super().__init__()
                self.one, self.two = keras.layers.Dense(2), keras.layers.Dense(2)

            def call(self, inputs):
                return {"sum": self.one(inputs["a"]) + self.two(inputs["b"]), "b": inputs["b"]}

        subclassed = Sum()
        subclassed(ones)
        for model, inputs in (
            (keras.Model({"a": a, "b": b}, [keras.layers.Dense(2)(a), keras.layers.Dense(1)(b)]), ones),
            (keras.Model([a, b], {"x": keras.layers.Dense(2)(a), "y": b}), list(ones.values())),
            (subclassed, ones),
        ):
            outputs = ml.functional.call(model, ml.functional.parameters(model), inputs)[0]
            expected = model(inputs)
            tf.nest.assert_same_structure(outputs, expected)
            for found, value in zip(tf.nest.flatten(outputs), tf.nest.flatten(expected), strict=True):
                np.testing.assert_array_equal(found, value)
