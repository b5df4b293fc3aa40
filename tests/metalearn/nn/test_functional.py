"""A Keras model as a pure function: equal outputs, and what a call adds to the loss."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


def test_frozen_layers_are_state():
    """Variables of frozen layers are part of the state, not of the parameters."""
    model = ml.models.mlp(hidden=(2,))
    model.get_layer("hidden_0").trainable = False
    assert list(ml.functional.parameters(model)) == ["output/kernel", "output/bias"]
    assert list(ml.functional.state(model)) == ["hidden_0/kernel", "hidden_0/bias"]


@pytest.mark.parametrize("function", ["parameters", "state"])
def test_unbuilt_models_are_refused(function):
    """A model that is not built is an error with a remedy."""
    model = keras.Sequential([keras.layers.Dense(2)], name="fresh")
    with pytest.raises(ValueError, match=r"'fresh' is not built .*call it once"):
        getattr(ml.functional, function)(model)


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
        """Outputs equal the model's own for its parameters, and for others those of a model that has them."""
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
        """The dropout mask depends on the given state, and the state after the call differs."""
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
        """Training uses batch statistics and returns new moving ones, without changing the model."""
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
        """The training flag also reaches the layers of a model whose call has no such argument."""

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
        """The message names missing and unknown keys."""
        model = self.build(keras.layers.BatchNormalization(name="norm"))
        values = {"parameters": ml.functional.parameters(model), "state": ml.functional.state(model)}
        missing, *_ = values[what]
        values[what]["other"] = values[what].pop(missing)
        with pytest.raises(ValueError, match=rf"{what} do not fit .*missing \['{missing}'\], .*\['other'\]"):
            ml.functional.apply(model, values["parameters"], inputs, state=values["state"])


class Penalised(keras.Layer):
    """A user-defined layer that adds a loss of its weight and inputs, and one that is not a scalar."""

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
        """Losses and gradients for given parameters equal NumPy's; frozen weights have no loss.

        The model has L1, L2, activity and ``add_loss`` penalties.
        """
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
        """Calls do not change the model's own losses, and no loss is counted twice."""
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
        """Losses in half and single precision are added in single precision."""
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
        """A model without losses returns None, and its graph has only the operations of the model's call."""
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
        """Models with several inputs and outputs, as dicts or lists, give the model's own outputs."""
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
