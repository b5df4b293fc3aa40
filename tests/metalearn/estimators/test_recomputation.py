"""Few stored states: the schedule takes the fewest steps, and the gradient has the bits of all of them."""

import functools
import resource
import time

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.estimators.recomputation import schedule, stored_states
from tests.metalearn.tracking import Tracking, phi


@functools.cache
def fewest(steps, states):
    """Return the least number of steps to take, by dynamic programming over the next stored state."""
    if steps < 2 or states == 1:
        return steps * (steps - 1) // 2
    return min(at + fewest(steps - at, states - 1) + fewest(at, states) for at in range(1, steps))


def test_the_fewest_steps_are_taken():
    """Every step is reversed from its state, within the number of stored states and with minimal steps.

    The minimum is computed by dynamic programming.
    """
    for steps in range(1, 30):
        for states in range(1, 7):
            plan = schedule(steps, states)
            held = {0: 0}
            for index, source in enumerate(plan.source):
                at = held[source] if index or steps > 1 else 0
                for move in range(plan.first[index], plan.first[index + 1]):
                    assert plan.begin[move] == at
                    at = held[plan.slot[move]] = plan.end[move]
                assert held[plan.reversed_from[index]] == steps - 1 - index
            assert plan.slot.max() == plan.slots - 1 == states + 1
            assert int((plan.end - plan.begin).sum()) == fewest(steps, states) + 1


def test_ten_thousand_steps():
    """For 10 000 steps, the schedule takes ``r K - C(s + r, r - 1)`` steps and one.

    The number of repetitions r is 2 for 140 and for 142 stored states.
    """
    for name, states, taken in (("log", 140, 20000 - 142 + 1), ("sqrt", 142, 20000 - 144 + 1)):
        assert stored_states(name, 10_000) == states
        plan = schedule(10_000, states)
        assert int((plan.end - plan.begin).sum()) == taken


STEPS = 13


@pytest.mark.parametrize("mapping", ["vectorized", pytest.param("sequential", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "checkpoints", [3, *(pytest.param(states, marks=pytest.mark.slow) for states in (1, "sqrt"))]
)
def test_equal_bits(in_graph, mapping, checkpoints):
    """Few stored states give the same bits as all, with states, batches and learned hyperparameters."""
    tracking = Tracking(STEPS, 3)
    problem = tracking.problem
    object.__setattr__(problem, "mapping", mapping)
    every, few = (
        in_graph(lambda phi, estimator=estimator: estimator(problem, phi, tracking.tasks())[0])(phi())
        for estimator in (ml.estimators.checkpointed(), ml.estimators.checkpointed(checkpoints))
    )
    assert np.abs(every.gradient["w"]).min() > 1e-4
    tf.nest.map_structure(np.testing.assert_array_equal, few, every)


def test_graphs_do_not_grow_with_the_steps(in_graph):
    """The graphs for 200 and for 100 steps have equally many nodes."""

    def nodes(steps):
        problem = ml.BilevelProblem(
            start=lambda phi, task: {"p": phi},
            inner_loss=lambda theta, phi, batch, model: tf.reduce_sum(theta["p"] ** 4),
            outer_loss=lambda theta, phi, task, model: tf.reduce_sum(theta["p"]),
            rule=ml.rules.sgd(0.1),
            steps=steps,
        )
        estimator, tasks = ml.estimators.checkpointed("log"), ml.Task(tf.zeros([1]), tf.zeros([1]))
        estimate = in_graph(lambda phi: estimator(problem, phi, tasks)[0].gradient)
        graph = estimate.get_concrete_function(tf.ones([2])).graph.as_graph_def()
        return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)

    assert nodes(100) == nodes(200)


@pytest.mark.parametrize("checkpoints", [0, 1.5, "few"])
def test_bad_numbers_of_states_are_refused(checkpoints):
    """The message names the value and the valid values."""
    with pytest.raises(ValueError, match=rf"checkpoints .*'all', 'sqrt', 'log'.*got {checkpoints!r}"):
        ml.estimators.checkpointed(checkpoints)


def long_training(steps):
    """Adam on mini-batches of 32 generated examples: scale of theta_0, L2 penalty and rate are learned."""
    random = np.random.default_rng(0)
    inputs = random.standard_normal((1000, 64)).astype("float32")
    targets = (inputs @ random.standard_normal((64, 10))).argmax(1)
    model = ml.models.mlp(64, (136, 136), 10, activation="tanh")
    first = ml.functional.initialize(model, 0)
    rule = ml.rules.adam(ml.rules.learned(1e-3, positive=True))

    def loss(theta, examples):
        return ml.losses.cross_entropy(examples.targets, ml.functional.apply(model, theta, examples.inputs))

    def penalised(theta, phi, examples, state):
        return loss(theta, examples) + tf.exp(phi["l2"]) * tf.add_n(
            [tf.nn.l2_loss(v) for v in theta.values()]
        )

    def batch(task, step):
        rows = (tf.range(32) + 32 * step) % 1000
        return tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows), task.support)

    problem = ml.BilevelProblem(
        start=lambda phi, task: {name: phi["scale"] * value for name, value in first.items()},
        inner_loss=penalised,
        outer_loss=lambda theta, phi, task, state: loss(theta, task.query),
        rule=rule,
        steps=steps,
        batch=batch,
    )
    phi = {"scale": tf.constant(1.0), "l2": tf.constant(-9.0), "rule": rule.learnable(first)}
    data = ml.Batch(tf.constant(inputs[None]), tf.constant(targets[None]))
    return problem, phi, ml.Task(data, data)


@pytest.mark.slow
def test_memory_and_time_of_ten_thousand_steps():
    """The gradient of 10 000 steps needs at most 200 MB more than that of ten; ``-s`` shows the times."""
    peaks = {}
    for steps in (10, 10_000):
        problem, phi, tasks = long_training(steps)
        for name, estimator in (
            ("gradient", ml.estimators.checkpointed("log")),
            ("forward pass", ml.estimators.frozen()),
        ):
            compiled = tf.function(
                lambda phi, estimate=estimator, problem=problem, tasks=tasks: estimate(problem, phi, tasks)[
                    0
                ][:2],
                jit_compile=True,
                autograph=False,
            )
            seconds = []
            for _ in range(4):
                started = time.perf_counter()
                found = tf.nest.map_structure(lambda leaf: leaf.numpy(), compiled(phi))
                seconds.append(time.perf_counter() - started)
            assert all(np.isfinite(leaf).all() for leaf in tf.nest.flatten(found))
            print(steps, name, f"{min(seconds[1:]):.2f} s")  # noqa: T201
            if name == "gradient":
                peaks[steps] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(peaks, "MB")  # noqa: T201
    assert peaks[10_000] - peaks[10] < 200
