"""The exact meta-gradients: unrolled tapes, repeated steps and finite differences agree."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution.layout import FUSED_STEPS

ESTIMATORS = {"unrolled": ml.estimators.unrolled(), "checkpointed": ml.estimators.checkpointed()}
RATE = 0.01


class NumpyLearner:
    """The default learner's meta-loss in NumPy, for finite differences."""

    def __init__(self, tasks, steps):
        self.tasks, self.steps = [leaf.numpy() for leaf in (*tasks.support, *tasks.query)], steps

    @staticmethod
    def gradient(parameters, inputs, targets):
        """Return the loss, its gradient by hand-written back-propagation, and which units are on."""
        hidden, on = [inputs], []
        for index in range(2):
            before = hidden[-1] @ parameters[f"hidden_{index}/kernel"] + parameters[f"hidden_{index}/bias"]
            on.append(before > 0)
            hidden.append(before * on[-1])
        errors = hidden[-1] @ parameters["output/kernel"] + parameters["output/bias"] - targets
        loss, back, gradient = np.mean(errors**2), 2 * errors / errors.size, {}
        for index, name in ((2, "output"), (1, "hidden_1"), (0, "hidden_0")):
            gradient |= {f"{name}/kernel": hidden[index].T @ back, f"{name}/bias": back.sum(0)}
            if index:
                back = (back @ parameters[f"{name}/kernel"].T) * on[index - 1]
        return loss, gradient, on

    def __call__(self, parameters):
        """Return the mean meta-loss over the tasks, and which units were on in all passes."""
        losses, patterns = [], []
        for inputs, targets, query_inputs, query_targets in zip(*self.tasks, strict=True):
            adapted = parameters
            for _ in range(self.steps):
                _, gradient, on = self.gradient(adapted, inputs, targets)
                adapted = {key: adapted[key] - RATE * gradient[key] for key in adapted}
                patterns += on
            loss, _, on = self.gradient(adapted, query_inputs, query_targets)
            losses.append(loss)
            patterns += on
        return np.mean(losses), np.concatenate([pattern.ravel() for pattern in patterns])

    def directional(self, parameters, direction, epsilon=1e-6):
        """Return the central difference along a direction, having checked that no unit switches within it.

        With the pattern of active units constant the meta-loss is smooth there. A step of 1e-6 leaves a
        rounding error of about 1e-16 / 1e-6 and a truncation error of about 1e-12.
        """
        ends = [
            self({key: parameters[key] + sign * epsilon * direction[key] for key in parameters})
            for sign in (1, -1)
        ]
        np.testing.assert_array_equal(ends[0][1], ends[1][1])
        return (ends[0][0] - ends[1][0]) / (2 * epsilon)


@pytest.fixture(scope="module")
def initial():
    """Return the default learner's meta-parameters in float64."""
    return ml.MetaLearner(ml.models.mlp(dtype="float64"), ml.losses.mse, ml.rules.sgd(RATE)).initialize(0)


@pytest.fixture(scope="module")
def result(sinusoids, initial, in_graph, with_xla):
    """Return a function that gives the default learner's meta-gradient, each computed once."""
    model = ml.models.mlp(dtype="float64")

    @functools.cache
    def compute(estimator, steps, mode):
        learner = ml.MetaLearner(
            model, ml.losses.mse, ml.rules.sgd(RATE), steps, estimator=ESTIMATORS[estimator]
        )
        wrap = {"eager": lambda function: function, "graph": in_graph, "xla": with_xla}[mode]
        return wrap(learner.meta_gradient)(initial, sinusoids)

    return compute


SLOW = pytest.mark.slow

QUICK = [("unrolled", 1, "eager"), ("checkpointed", 1, "xla")]
"""Of ten steps, eager ones are traced one by one, and nested tapes take XLA long to compile."""


def cases(*quick):
    """Parametrize a test over all estimators, steps and modes; all except ``quick`` are slow."""
    every = itertools.product(ESTIMATORS, (1, 3, 10), ("eager", "xla"))
    slow = [pytest.param(*case, marks=SLOW) for case in every if case not in quick]
    return pytest.mark.parametrize(("estimator", "steps", "mode"), [*quick, *slow])


@cases(*QUICK)
def test_equals_nested_tapes(result, as_vector, estimator, steps, mode):
    """Losses, meta-gradients and adapted parameters equal those of nested tapes in a graph, to 1e-9."""
    unrolled, mixed = result("unrolled", steps, "graph"), result(estimator, steps, mode)
    assert np.abs(as_vector(unrolled.gradient)).max() > 0.1
    for field in ("loss", "gradient", "per_task", "inner"):
        ours, reference = (as_vector(getattr(each, field)) for each in (mixed, unrolled))
        np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-9)


@cases(*QUICK, ("checkpointed", 10, "graph"))
def test_equals_finite_differences(result, initial, sinusoids, as_vector, estimator, steps, mode):
    """Along random directions and coordinates of all variables, gradients equal differences to 1e-6."""
    meta_gradient = result(estimator, steps, mode)
    reference = NumpyLearner(sinusoids, steps)
    start = {key: value.numpy() for key, value in initial["parameters"].items()}
    gradient = {key: value.numpy() for key, value in meta_gradient.gradient["parameters"].items()}
    np.testing.assert_allclose(np.mean(meta_gradient.loss), reference(start)[0], rtol=1e-12)

    random = np.random.default_rng(steps)
    directions = [{key: random.normal(size=value.shape) for key, value in start.items()} for _ in range(3)]
    for chosen in start:
        zeros = {key: np.zeros_like(value) for key, value in start.items()}
        steepest = np.argmax(np.abs(gradient[chosen]))
        zeros[chosen].flat[steepest] = 1.0
        directions.append(zeros)
    for direction in directions:
        length = np.linalg.norm(as_vector(direction))
        direction = {key: value / length for key, value in direction.items()}
        expected = reference.directional(start, direction)
        found = sum(np.vdot(gradient[key], direction[key]) for key in gradient)
        assert abs(found - expected) < 1e-6


def test_graphs_beyond_the_fused_steps_do_not_grow(in_graph):
    """The loop is part of the graph: 25 additional steps need as many nodes as one."""
    phi = {"parameters": {"p": tf.constant([1.0, 2.0])}, "rule": {}}
    batch = ml.Batch(tf.zeros((2, 1, 1)), tf.zeros((2, 1, 1)))

    def nodes(steps):
        problem = ml.BilevelProblem(
            start=lambda meta, task: meta["parameters"],
            inner_loss=lambda theta, meta, batch, model: tf.reduce_sum(theta["p"] ** 4),
            outer_loss=lambda theta, meta, task, model: tf.reduce_sum(theta["p"]),
            rule=ml.rules.sgd(0.1),
            steps=steps,
        )
        estimate = in_graph(lambda meta, tasks: ESTIMATORS["checkpointed"](problem, meta, tasks)[0])
        graph = estimate.get_concrete_function(phi, ml.Task(batch, batch)).graph.as_graph_def()
        return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)

    assert nodes(FUSED_STEPS + 1) == nodes(FUSED_STEPS + 25)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, FUSED_STEPS + 1])
def test_recurrent_layers_may_be_loops_in_the_graph(steps, in_graph):
    """With a recurrent layer that is a graph loop, both estimators agree to 1e-12."""
    layers = [keras.layers.SimpleRNN(2, dtype="float64"), keras.layers.Dense(1, dtype="float64")]
    model = keras.Sequential([keras.Input((3, 1), dtype="float64"), *layers])
    random = np.random.default_rng(0)
    support, query = (
        ml.Batch(*(tf.constant(random.normal(size=(2, 4, *shape))) for shape in ((3, 1), (1,))))
        for _ in range(2)
    )
    found = []
    for estimator in ESTIMATORS.values():
        learner = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1), steps, estimator=estimator)
        gradient = in_graph(
            lambda meta, tasks, learner=learner: learner.meta_gradient(meta, tasks, seed=(0, 0)).gradient
        )
        found.append(gradient(learner.initialize(0), ml.Task(support, query))["parameters"])
    for key, expected in found[0].items():
        np.testing.assert_allclose(found[1][key], expected, rtol=1e-12, atol=1e-14, err_msg=key)


class HeavyBall:
    """A rule with state and learned hyperparameters, which also uses the step and its start.

    ``v <- momentum v - exp(log_rate) / (1 + k) g`` and ``theta <- theta + v + 0.05 (anchor - theta)``, with
    a learned rate per variable, a learned momentum, and the anchor theta_0 kept in the state.
    """

    def learnable(self, parameters):
        """Return initial values of what is learned."""
        rates = {key: tf.constant(-2.0 - index / 4, tf.float64) for index, key in enumerate(parameters)}
        return {"momentum": tf.constant(0.7, tf.float64), "log_rate": rates}

    hyperparameters = learnable

    def init(self, parameters):
        """Return a velocity of zero, and the anchor."""
        return {"velocity": tf.nest.map_structure(tf.zeros_like, parameters), "anchor": parameters}

    def update(self, gradients, state, parameters, hyperparameters, step):
        """Return the parameters and the state after a step."""
        shrink = 1.0 / (1.0 + tf.cast(step, tf.float64))
        velocity = {
            key: hyperparameters["momentum"] * state["velocity"][key]
            - tf.exp(hyperparameters["log_rate"][key]) * shrink * gradients[key]
            for key in parameters
        }
        moved = {
            key: value + velocity[key] + 0.05 * (state["anchor"][key] - value)
            for key, value in parameters.items()
        }
        return moved, {"velocity": velocity, "anchor": state["anchor"]}


@pytest.mark.parametrize("steps", [pytest.param(3, marks=SLOW), 7])
def test_state_and_learned_hyperparameters(sinusoids, as_vector, in_graph, steps):
    """With all possible parts of phi, repeated steps equal unrolled ones to 1e-12, and differences to 1e-6.

    The rule carries state and learns a rate per variable; the inner loss has a learned regulariser; a part
    of phi is in the outer loss alone.
    """
    rule = HeavyBall()

    def regulariser(theta):
        return tf.reduce_sum(tf.square(theta["first"]))

    def outputs(theta, inputs):
        return tf.tanh(inputs @ theta["first"]) @ theta["second"]

    problem = ml.BilevelProblem(
        start=lambda meta, task: meta["parameters"],
        inner_loss=lambda theta, meta, batch, model: (
            ml.losses.mse(batch.targets, outputs(theta, batch.inputs))
            + tf.exp(meta["rule"]["log_decay"]) * regulariser(theta)
        ),
        outer_loss=lambda theta, meta, task, model: ml.losses.mse(
            task.query.targets, meta["scale"] * outputs(theta, task.query.inputs)
        ),
        rule=rule,
        steps=steps,
        hyperparameters=lambda meta: meta["rule"]["heavy_ball"],
    )
    random = np.random.default_rng(0)
    shapes = {"first": (1, 3), "second": (3, 1)}
    parameters = {key: tf.constant(random.normal(size=shape)) for key, shape in shapes.items()}
    meta = {
        "parameters": parameters,
        "rule": {
            "heavy_ball": rule.learnable(parameters),
            "log_decay": tf.constant(-2.0, tf.float64),
        },
        "scale": tf.constant(1.3, tf.float64),
    }
    unrolled, mixed = (
        in_graph(lambda meta, estimator=estimator: estimator(problem, meta, sinusoids)[0])
        for estimator in ESTIMATORS.values()
    )
    reference, found = unrolled(meta), mixed(meta)
    np.testing.assert_allclose(as_vector(found), as_vector(reference), rtol=0, atol=1e-12)
    assert np.abs(as_vector(reference.gradient)).min() > 1e-4

    leaves = tf.nest.flatten(meta)
    direction = [random.normal(size=leaf.shape) for leaf in leaves]
    ahead, behind = (
        np.mean(
            unrolled(
                tf.nest.pack_sequence_as(
                    meta, [leaf + step * along for leaf, along in zip(leaves, direction, strict=True)]
                )
            ).loss
        )
        for step in (1e-5, -1e-5)
    )
    expected = sum(map(np.vdot, direction, tf.nest.flatten(found.gradient)))
    assert abs((ahead - behind) / 2e-5 - expected) < 1e-6
