"""Modes against a NumPy program: query losses, and their gradients through the inner loop, in each mode."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution.task_map import map_tasks
from metalearn.nn.modes import CHOICES, Batch, Moving, PerStep, Plain, Support, mode, needs_exact
from tests.metalearn.normalized import KEYS, MOMENTUM, RATE, STATISTICS, by_complex_step, network, program
from tests.often import mostly_slow

LAYERS = keras.layers
NAMES = tuple(CHOICES)


@pytest.fixture(scope="module")
def model():
    """Return the network in Keras."""
    return network()


@pytest.fixture(scope="module")
def task():
    """Return support and query examples of different distributions."""
    rng = np.random.default_rng(1)
    return [
        (rng.normal(size=(7, 3)), rng.normal(size=(7, 2))),
        (1 + 2 * rng.normal(size=(5, 3)), rng.normal(size=(5, 2))),
    ]


def unrolled(chosen, model, parameters, state, task, steps):
    """Return the query loss after some steps of gradient descent, and the states before and after judging."""
    (x, t), (query, target) = task
    for step in range(steps):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            now = chosen.at(parameters, tf.constant(step))
            outputs, _, after = chosen.inner(model, now, state, x, tf.constant(step), None)
            loss = ml.losses.mse(t, outputs)
        gradient = tape.gradient(loss, parameters)
        parameters = {
            key: value if key in chosen.affine else value - RATE * gradient[key]
            for key, value in parameters.items()
        }
        state = after
    now = chosen.at(parameters, tf.constant(steps))
    outputs, _ = chosen.outer(model, now, state, x, query, tf.constant(steps))
    return ml.losses.mse(target, outputs), chosen.observe(model, now, state, x, tf.constant(steps))


def spread(chosen, model):
    """Return parameters of which each step has its own, where it may have."""
    rng, parameters = np.random.default_rng(4), chosen.spread(ml.functional.parameters(model))
    return {
        key: value + rng.uniform(0, 1, value.shape) * (key in chosen.affine)
        for key, value in parameters.items()
    }


def as_tensors(task):
    return [tuple(tf.constant(each) for each in batch) for batch in task]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("trained", "steps"), [(1, 1), (3, 3), (3, 2), (1, 3)])
def test_losses_and_gradients_are_those_of_the_program(model, task, name, trained, steps):
    """Losses equal those of the NumPy program to 1e-12, and their gradients to 1e-9."""
    chosen = mode(name, model, trained)
    state = chosen.initial(model)
    rng = np.random.default_rng(2)
    if name.startswith("per_step"):  # Sets that differ, or a mistaken index would not show.
        state = {key: value + rng.uniform(0, 1, value.shape) for key, value in state.items()}
    sets = [
        [
            state[key][k].numpy()
            if name.startswith("per_step")
            else model.get_layer("norm").get_weights()[place]
            for place, key in ((2, STATISTICS[0]), (3, STATISTICS[1]))
        ]
        for k in range(trained + 1)
    ]
    parameters = spread(chosen, model)

    with tf.GradientTape() as tape:
        tape.watch(parameters)
        loss, after = unrolled(chosen, model, parameters, state, as_tensors(task), steps)
    gradient = tape.gradient(loss, parameters)
    values = [parameters[key].numpy() for key in KEYS]
    expected, left = program(name, values, sets, task, steps)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    derivative = by_complex_step(lambda p: program(name, p, sets, task, steps)[0], values)
    size = max(np.abs(value).max() for value in derivative)
    for key, value in zip(KEYS, derivative, strict=True):
        np.testing.assert_allclose(gradient[key], value, rtol=1e-9, atol=1e-9 * size)
    assert_state_equals(name, after, left)


def assert_state_equals(name, state, sets):
    if name in ("batch", "support"):
        assert state == ()
        return
    for place, key in enumerate(STATISTICS):
        expected = np.stack([each[place] for each in sets]) if name.startswith("per_step") else sets[0][place]
        np.testing.assert_allclose(state[key], expected, rtol=1e-12)


def test_the_modes_differ(model, task):
    """The losses of one task differ between all modes."""
    losses = []
    for name in NAMES:
        chosen = mode(name, model, 2)
        loss, _ = unrolled(chosen, model, spread(chosen, model), chosen.initial(model), as_tensors(task), 2)
        losses.append(float(loss))
    assert min(abs(a - b) for i, a in enumerate(losses) for b in losses[:i]) > 1e-3


@pytest.mark.parametrize("name", ["moving", "per_step"])
def test_derivatives_go_through_the_initial_statistics(model, task, name):
    """The derivative of the query loss by the initial statistics equals that of the program, to 1e-9."""
    chosen = mode(name, model, 2)
    parameters, state = ml.functional.parameters(model), chosen.initial(model)
    with tf.GradientTape() as tape:
        tape.watch(state)
        loss, _ = unrolled(chosen, model, parameters, state, as_tensors(task), 2)
    gradient = tape.gradient(loss, state)
    values = [parameters[key].numpy() for key in KEYS]
    leaves = [state[key].numpy() for key in STATISTICS]

    def of_state(leaves):
        sets = [[leaf[k] if name == "per_step" else leaf for leaf in leaves] for k in range(3)]
        return program(name, values, sets, task, 2)[0]

    for key, expected in zip(STATISTICS, by_complex_step(of_state, leaves), strict=True):
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(gradient[key], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", mostly_slow(NAMES, "batch", "per_step_affine"))
def test_modes_can_be_mapped_over_tasks(model, in_graph, name):
    """Vectorised over three tasks with their own states, results equal those of each task, to 1e-9."""
    rng = np.random.default_rng(3)
    chosen = mode(name, model, 2)
    state = tf.nest.map_structure(
        lambda leaf: leaf + tf.constant(rng.uniform(size=(3, *leaf.shape))), chosen.initial(model)
    )
    shapes = ((3, 6, 3), (3, 6, 2)), ((3, 4, 3), (3, 4, 2))
    tasks = [tuple(tf.constant(rng.normal(size=shape)) for shape in batch) for batch in shapes]
    parameters = spread(chosen, model)

    def of_one(task, state):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            loss, after = unrolled(chosen, model, parameters, state, task, 1)
        return loss, tape.gradient(loss, parameters), after

    mapped = in_graph(lambda *a: map_tasks(of_one, *a))(tasks, state)
    for index in range(3):
        one = tf.nest.map_structure(lambda leaf, index=index: leaf[index], (tasks, state))
        expected = of_one(*one)
        for found, value in zip(tf.nest.flatten(mapped), tf.nest.flatten(expected), strict=True):
            np.testing.assert_allclose(found[index], value, rtol=1e-9, atol=1e-12)


class Sampled(keras.Layer):
    """A user-defined layer that draws random numbers in training and inference."""

    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(1)

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.generator)


def with_norm(*layers, norm=None):
    return keras.Sequential(
        [keras.Input((3,)), LAYERS.Dense(2), norm or LAYERS.BatchNormalization(name="norm"), *layers]
    )


class TestChoice:
    """Modes are chosen by name for models with batch statistics, and cannot be chosen for others."""

    def test_records(self, model):
        """Records with equal settings are equal, and ``repr`` can be evaluated."""
        expected = {
            "batch": Batch(),
            "support": Support(tuple((key, MOMENTUM) for key in STATISTICS)),
            "moving": Moving(STATISTICS),
            "per_step": PerStep(STATISTICS, 5),
            "per_step_affine": PerStep(STATISTICS, 5, ("norm/gamma", "norm/beta")),
        }
        for name, record in expected.items():
            assert mode(name, model, 5) == record == eval(repr(record))
            assert hash(mode(name, model, 5)) == hash(record)
            assert needs_exact(record)
        assert mode("per_step", model, 4) != expected["per_step"]

    def test_a_model_without_batch_statistics_has_nothing_to_choose(self):
        assert mode(None, ml.models.mlp(), 1) == Plain() == Plain(seeded=False)
        dropped = keras.Sequential([keras.Input((3,)), LAYERS.Dropout(0.5), LAYERS.Dense(1)])
        assert mode(None, dropped, 1) == Plain(seeded=True)
        assert not needs_exact(Plain())
        for name in NAMES:
            with pytest.raises(ValueError, match=rf"'{name}' was chosen, but no layer .*: omit it"):
                mode(name, ml.models.mlp(), 1)

    def test_batch_statistics_have_to_be_chosen(self, model):
        """Without a choice, the error names the layers and lists the modes, one in each line."""
        with pytest.raises(ValueError, match=r"has batch statistics \(norm\)") as raised:
            mode(None, model, 1)
        lines = str(raised.value).splitlines()[1:]
        assert [line.split(":")[0].strip() for line in lines] == [repr(name) for name in NAMES]
        with pytest.raises(ValueError, match="statistics='mean' is unknown"):
            mode("mean", model, 1)
        with pytest.raises(ValueError, match="steps must be"):
            mode("batch", model, -1)

    @pytest.mark.parametrize(
        ("norm", "reason"),
        [
            (lambda: LAYERS.SpectralNormalization(LAYERS.Dense(2), name="norm"), "have no momentum"),
            (lambda: LAYERS.BatchNormalization(momentum=1.0, name="norm"), "have no momentum below 1"),
            (lambda: LAYERS.BatchNormalization(renorm=True, name="norm"), "do not update m to momentum m"),
        ],
    )
    def test_support_needs_a_momentum(self, norm, reason):
        with pytest.raises(ValueError, match=rf"norm \(.*{reason}.*'batch', 'moving' or 'per_step'"):
            mode("support", with_norm(norm=norm()), 1)

    def test_scales_of_steps_need_a_scale(self):
        without = LAYERS.BatchNormalization(center=False, scale=False, name="norm")
        with pytest.raises(ValueError, match=r"norm of model .* neither a scale nor a shift: .*'per_step'"):
            mode("per_step_affine", with_norm(norm=without), 1)

    def test_queries_without_noise(self):
        """A layer that draws random numbers also in inference is an error: queries would be random."""
        with pytest.raises(ValueError, match=r"sampled.* draw random numbers also with training=False"):
            mode("batch", with_norm(Sampled()), 1)


def test_queries_do_not_drop():
    """With batch statistics, inner steps depend on the seed of the dropout, and queries have no dropout."""
    model = with_norm(LAYERS.Dropout(0.5), LAYERS.Dense(1))
    without = keras.Sequential([layer for layer in model.layers if not isinstance(layer, LAYERS.Dropout)])
    without.build((None, 3))
    x = tf.constant(np.random.default_rng(0).normal(size=(8, 3)), tf.float32)
    chosen, parameters = mode("batch", model, 1), ml.functional.parameters(model)
    outputs, _ = chosen.outer(model, parameters, (), x, x, 0)
    expected = ml.functional.apply(without, ml.functional.parameters(without), x, training=True)
    np.testing.assert_array_equal(outputs, expected)
    draws = [chosen.inner(model, parameters, (), x, 0, tf.constant([0, seed]))[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert not np.array_equal(draws[0], outputs)


def test_plain_is_the_call_of_inference():
    """Without batch statistics, calls give the bits of inference, and there is no state."""
    model, x = ml.models.mlp(2), tf.ones((3, 2))
    parameters = ml.functional.parameters(model)
    outputs, losses, state = Plain().inner(model, parameters, (), x, 0, tf.constant([0, 1]))
    np.testing.assert_array_equal(outputs, ml.functional.apply(model, parameters, x))
    np.testing.assert_array_equal(Plain().outer(model, parameters, (), x, x, 0)[0], outputs)
    assert losses is None
    assert state == Plain().initial(model) == Plain().observe(model, parameters, (), x, 0) == ()
