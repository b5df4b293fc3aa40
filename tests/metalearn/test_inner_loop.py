"""The state of an inner loop: given starts, continued loops, the state of a model."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.inner_loop import adapted, solve
from metalearn.types import Inner
from tests.metalearn.tracking import DECAY, Tracking, one, phi
from tests.often import mostly_slow

CONTINUING = {
    "checkpointed": ml.estimators.checkpointed(),
    "first_order": ml.estimators.first_order(),
    "frozen": ml.estimators.frozen(),
    "truncated": ml.estimators.truncated(1),
    "unrolled": ml.estimators.unrolled(),
}
EXACT = {
    "checkpointed": ml.estimators.checkpointed(),
    "forward_mode": ml.estimators.forward_mode(),
    "unrolled": ml.estimators.unrolled(),
}


def assert_state(inner, expected, index):
    """Check every leaf of one task's inner loop against NumPy, to 1e-13."""
    found = {
        "w": inner.parameters["w"],
        "momentum": inner.rule["momentum"]["w"],
        "velocity": inner.rule["velocity"]["w"],
        "mean": inner.model["mean"],
        "calls": inner.model["calls"],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name][index], value, rtol=0, atol=1e-13, err_msg=name)


@pytest.mark.parametrize(
    ("name", "steps", "rounds", "slices"),
    [
        ("checkpointed", 2, 4, 3),
        *(pytest.param("checkpointed", *case, marks=pytest.mark.slow) for case in ((2, 2, None), (7, 2, 3))),
        *(
            pytest.param(name, 2, 2, 3, marks=pytest.mark.slow)
            for name in ("first_order", "frozen", "truncated", "unrolled")
        ),
    ],
)
def test_a_loop_that_goes_on_is_one_long_loop(in_graph, name, steps, rounds, slices):
    """A continued loop has the bits of one long loop, and equals NumPy's to 1e-13.

    This holds for parameters, Adam's moments, the state of the model and the step number.
    """
    part, whole = Tracking(steps, slices), Tracking(steps * rounds, slices)
    tasks, estimator, meta = part.tasks(), CONTINUING[name], phi(decay=name != "first_order")
    go_on = in_graph(lambda tasks: estimator(part.problem, meta, tasks)[0])
    # A step of -1 restarts the loop, so that one program serves all rounds.
    result = ml.estimators.frozen()(dataclasses.replace(part.problem, steps=0), phi(), tasks)[0]
    inner = tf.nest.map_structure(lambda leaf: 0 * leaf + 7, result.inner)._replace(
        step=tf.constant([-1, -1])
    )
    for _ in range(rounds):
        result = go_on(tasks._replace(start=inner))
        inner = result.inner
    at_once = in_graph(lambda tasks: estimator(whole.problem, meta, tasks)[0])(tasks)
    np.testing.assert_array_equal(inner.step, [steps * rounds] * 2)
    for found, expected in zip(*map(tf.nest.flatten, (inner, at_once.inner)), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(result.loss, at_once.loss, rtol=1e-15)
    for index in range(2):
        loss, state = whole.by_hand(one(tasks, index), steps * rounds)
        assert_state(inner, state, index)
        np.testing.assert_allclose(result.loss[index], loss, rtol=1e-13)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "forward_mode")) for name in EXACT]
)
def test_what_is_carried_in_is_constant(in_graph, name):
    """The gradient through a continued loop is that of its own steps, to 1e-10; that of theta_0 is zero."""
    part, estimator = Tracking(2), EXACT[name]
    tasks = part.tasks()
    first, _ = ml.estimators.frozen()(part.problem, phi(), tasks)
    found = in_graph(lambda tasks: estimator(part.problem, phi(), tasks)[0].per_task)(
        tasks._replace(start=first.inner)
    )
    np.testing.assert_array_equal(found["w"], np.zeros((2, 3)))
    for index in range(2):
        task = one(tasks, index)
        _, state = part.by_hand(task, 2)
        loss, _ = part.by_hand(task, 2, decay=DECAY + 1e-30j, state=state)
        np.testing.assert_allclose(found["decay"][index], loss.imag / 1e-30, rtol=1e-10)


class TestStartOfATask:
    """Inner loops that start from a given ``Task.start``."""

    @staticmethod
    def start(step=0):
        """Return an inner loop of one task elsewhere."""
        w = tf.constant([[1.0, 2.0, 3.0]], tf.float64)
        rule = {"momentum": {"w": 0 * w}, "velocity": {"w": 0 * w}}
        model = {"mean": tf.constant([0.1], tf.float64), "calls": tf.constant([0])}
        return Inner({"w": w}, rule, model, tf.constant([step]))

    @pytest.mark.parametrize("name", mostly_slow(CONTINUING, "checkpointed"))
    def test_it_is_used(self, name):
        """The loop starts there; with a negative step, it starts where the problem specifies."""
        part = Tracking(2)
        tasks = part.tasks(1)
        for step, w in ((0, np.array([1.0, 2.0, 3.0])), (-1, phi()["w"].numpy())):
            meta = phi(decay=name != "first_order")
            result, _ = CONTINUING[name](part.problem, meta, tasks._replace(start=self.start(step)))
            _, state = part.by_hand(one(tasks, 0), 2, w)
            assert_state(result.inner, state, 0)
            np.testing.assert_array_equal(result.inner.step, [2])

    def test_solve_and_the_learner_use_it(self):
        """``solve``, adaptation and the losses before and after it start there."""
        part, start = Tracking(2), self.start()
        tasks = part.tasks(1)._replace(start=start)
        inner, points = solve(part.problem, phi(), tasks, 2, lambda inner, task: inner.parameters["w"])
        learner = ml.BilevelLearner(part.problem, start=phi())
        adapted, _ = learner.adapt(phi(), tasks, 2)
        losses = learner.losses(phi(), tasks, adapted)
        for steps in range(3):
            loss, state = part.by_hand(one(part.tasks(1), 0), steps, np.array([1.0, 2.0, 3.0]))
            np.testing.assert_allclose(points[0, steps], state["w"], rtol=0, atol=1e-13)
            if steps != 1:
                kind = "outer/loss" if steps else "outer/loss_before"
                np.testing.assert_allclose(losses[kind], [loss], rtol=1e-13)
        assert_state(inner, state, 0)
        assert_state(adapted, state, 0)

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"parameters": {"v": tf.zeros((1, 3), tf.float64)}}, "parameters/v, parameters/w are in one"),
            ({"parameters": {"w": tf.zeros((1, 3))}}, r"float32 \(3,\) at parameters/w.* float64 \(3,\)"),
            ({"parameters": {"w": tf.zeros((1, 2), tf.float64)}}, r"float64 \(2,\) at parameters/w"),
            ({"rule": {}}, "rule/momentum/w, rule/velocity/w are in one of the two only"),
            ({"model": {"mean": tf.zeros(1, tf.float64)}}, "model/calls is in one of the two only"),
        ],
        ids=["name", "type", "shape", "rule", "model"],
    )
    @pytest.mark.parametrize("where", ["estimator", "require_fit"])
    def test_another_structure_is_refused(self, change, named, where):
        """Estimators, trainer and evaluation reject another structure, and name the leaf."""
        part = Tracking(1)
        tasks = part.tasks(1)._replace(start=self.start()._replace(**change))
        checks = {
            "estimator": lambda: ml.estimators.checkpointed()(part.problem, phi(), tasks),
            "require_fit": lambda: ml.BilevelLearner(part.problem, start=phi()).require_fit(tasks),
        }
        with pytest.raises(ValueError, match=f"task.start has .*{named}"):
            checks[where]()


PAIRWISE = [
    ("checkpointed", 3, None, "sequential"),
    ("checkpointed", 7, 2, "vectorized"),
    ("forward_mode", 7, 2, "sequential"),
    ("unrolled", 3, None, "vectorized"),
    ("unrolled", 7, 2, "sequential"),
]

ALL = itertools.product(EXACT, ((3, None), (7, 2)), ("vectorized", "sequential"))
ALL = [(name, *loop, mapping) for name, loop, mapping in ALL]


@pytest.mark.parametrize(
    ("name", "steps", "slices", "mapping"),
    [pytest.param(*each, marks=[] if each in PAIRWISE else pytest.mark.slow) for each in ALL],
)
def test_model_state_is_differentiated(in_graph, name, steps, slices, mapping):
    """Through the floats of a model's state, gradients equal complex-step differences, to 1e-10."""
    tracking = Tracking(steps, slices, {"mapping": mapping})
    tasks, estimator = tracking.tasks(), EXACT[name]
    result = in_graph(lambda phi, tasks: estimator(tracking.problem, phi, tasks)[0])(phi(), tasks)
    assert result.inner.model["calls"].dtype == tf.int32
    for index in range(2):
        loss, state = tracking.by_hand(one(tasks, index), steps)
        to_w, to_decay = tracking.slopes(one(tasks, index), steps)
        assert_state(result.inner, state, index)
        np.testing.assert_allclose(result.loss[index], loss, rtol=1e-12)
        np.testing.assert_allclose(result.per_task["w"][index], to_w, rtol=1e-10)
        np.testing.assert_allclose(result.per_task["decay"][index], to_decay, rtol=1e-10)
        np.testing.assert_array_equal(result.metrics["calls"], [steps, steps])
        expected = np.sum((state["w"] - one(tasks, index).query) ** 2)
        np.testing.assert_allclose(result.metrics["distance"][index], expected, rtol=1e-12)


def test_a_model_state_of_another_structure_is_refused():
    """A model's state that changes its structure is an error that names the leaf."""
    part = Tracking(1)
    problem = dataclasses.replace(part.problem, inner_loss=lambda *a: (part.problem.inner_loss(*a)[0], {}))
    with pytest.raises(ValueError, match=r"model's state after inner_loss .*: calls, mean are"):
        ml.estimators.checkpointed()(problem, phi(), part.tasks())


@pytest.mark.parametrize("steps", [1, 7])
def test_adapted_is_a_function_of_phi(in_graph, steps):
    """theta_K of one task and its derivative by phi equal complex-step differences, to 1e-10."""
    tracking = Tracking(steps)
    task = tf.nest.map_structure(lambda leaf: leaf[0], tracking.tasks())

    def last(decay):
        with tf.GradientTape() as tape:
            tape.watch(decay)
            total = tf.reduce_sum(adapted(tracking.problem, {**phi(), "decay": decay}, task)["w"])
        return total, tape.gradient(total, decay)

    total, slope = in_graph(last)(phi()["decay"])
    decay = phi()["decay"].numpy() + 1e-30j
    _, state = tracking.by_hand(one(tracking.tasks(), 0), steps, decay=decay)
    np.testing.assert_allclose(total, np.sum(state["w"]).real, rtol=1e-13)
    np.testing.assert_allclose(slope, np.sum(state["w"]).imag / 1e-30, rtol=1e-10)


@pytest.mark.parametrize("mapping", ["vectorized", "sequential"])
@pytest.mark.parametrize("steps", [2, 6])
def test_learned_rates_of_steps_go_on_with_the_loop(in_graph, steps, mapping):
    """Tasks at steps 0 and 3 use the rates of their own steps, and only these have a gradient.

    ``theta <- (1 - r[min(k, 3)]) theta`` and the outer loss theta, so ``d theta_K / d r_j`` is by the product
    rule the sum over the steps that use r_j of minus the product of the other factors.
    """
    rates, starts = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 3])
    problem = ml.BilevelProblem(
        start=lambda phi, task: {"t": tf.ones([], tf.float64)},
        inner_loss=lambda theta, phi, batch, model: tf.square(theta["t"]) / 2,
        outer_loss=lambda theta, phi, task, model: theta["t"],
        rule=ml.rules.sgd(ml.rules.learned(0.1, steps=4)),
        steps=steps,
        mapping=mapping,
    )
    values = {"rule": {"learning_rate": tf.constant(rates)}}
    carried = Inner({"t": tf.ones([2], tf.float64)}, {}, (), tf.constant(starts, tf.int32))
    tasks = ml.Task((), (), start=carried)
    estimate = in_graph(lambda values: ml.estimators.checkpointed()(problem, values, tasks)[0])
    found = estimate(values)
    for index, first in enumerate(starts):
        used = np.minimum(np.arange(first, first + steps), 3)
        factors = 1 - rates[used]
        np.testing.assert_allclose(found.loss[index], np.prod(factors), rtol=1e-13)
        slopes = [-np.sum(np.prod(factors) / factors[used == j]) for j in range(4)]
        np.testing.assert_allclose(
            found.per_task["rule"]["learning_rate"][index], slopes, rtol=1e-12, atol=1e-15
        )
