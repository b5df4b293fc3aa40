"""Meta-gradients of policies, compared with a Gaussian bandit's closed form and an enumerated process."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.sources.environments import Episodes, Noise

environments = ml.tasks.environments

GOAL, MEAN, DEVIATION, RATE = 1.2, 0.2, 0.5, 0.1
"""Of the bandit: J(mean) = -(mean - GOAL)^2 - DEVIATION^2."""

TABLES = {
    "transitions": [[[0.75, 0.25], [0.25, 0.75]], [[0.5, 0.5], [0.0, 1.0]]],
    "rewards": [[1.0, -0.5], [0.25, 2.0]],
}
HORIZON, DISCOUNT = 3, 0.9
GRID = (np.arange(4) + 0.5) / 4
"""Uniform numbers that meet every event of a probability in quarters as often as it has to be."""


def linear_model(inputs, outputs):
    return ml.models.mlp(inputs, (), outputs)


def parameters_of(model, kernel, bias):
    names = list(ml.functional.parameters(model))
    values = [tf.constant(kernel, tf.float64), tf.constant(bias, tf.float64)]
    return dict(zip(sorted(names, key=lambda name: "bias" in name), values, strict=True))


def one_by_one(learner):
    """The learner with one task after the other, which is quicker to trace than all at once."""
    return dataclasses.replace(learner, problem=dataclasses.replace(learner.problem, mapping="sequential"))


def bandit(surrogate, baseline, rollouts=20_000, tasks=40, **options):
    """The estimate of the gradient of the loss by the mean after one step, and its standard error."""
    model = linear_model(1, 1)
    source = ml.tasks.Rollouts(environments.Bandit((GOAL, GOAL)), rollouts, horizon=1)
    learner = ml.problems.policy(
        source.environment,
        model,
        ml.rules.sgd(RATE),
        surrogate=surrogate,
        baseline=baseline,
        deviation=DEVIATION,
        **options,
    )
    learner = one_by_one(learner)
    meta = {"parameters": parameters_of(model, [[0.0]], [MEAN]), "rule": {}}
    found = learner.meta_gradient(meta, source.sample((0, 0), tasks))
    (bias,) = (value for name, value in found.per_task["parameters"].items() if "bias" in name)
    each = bias.numpy()[:, 0]
    return each.mean(), each.std(ddof=1) / tasks**0.5


@pytest.mark.parametrize(
    ("surrogate", "baseline", "expected"),
    [
        ("dice", "mean", -1.28),
        ("lvc", "mean", -1.28),
        pytest.param("dice", "none", -1.28, marks=pytest.mark.slow),
        ("pathwise", "none", -1.28),
        pytest.param("plain", "mean", -1.6, marks=pytest.mark.slow),
        pytest.param("plain", "none", -2.4, marks=pytest.mark.slow),
    ],
)
def test_the_bandits_meta_gradient(surrogate, baseline, expected):
    """The mean estimate is within 4 standard errors of the expected gradient of each surrogate.

    The exact one is 2 (theta' - goal) (1 - 2 rate).
    """
    found, error = bandit(surrogate, baseline)
    assert error < 0.02
    assert abs(found - expected) < 4 * error


@pytest.fixture(scope="module")
def process():
    """The environment, its model, parameters with probabilities in quarters, and one task of all paths."""
    environment, model = environments.Tabular(2, 2), linear_model(2, 2)
    grids = np.array(list(itertools.product(GRID, repeat=2 * HORIZON - 1)))
    grids = np.concatenate([grids, np.full([len(grids), 1], 0.1)], 1)  # the last transition changes nothing
    count = len(grids)
    noise = Noise(
        tf.zeros([count, 0]),
        tf.constant(grids[:, HORIZON:, None]),
        tf.constant(grids[:, :HORIZON, None]),
    )
    table = {name: tf.constant(value, tf.float64) for name, value in TABLES.items()}
    return environment, model, Episodes(table, noise)


# Probabilities of action 0: 3/4 in state 0, 1/4 in state 1.
KERNEL, BIAS = np.log([[3.0, 1.0], [1.0, 3.0]]), np.zeros(2)


def exact_return(kernel, bias, kept_kernel, kept_bias, local):
    """Return J by dynamic programming; with ``local`` each decision in turn, all others as they are."""
    policy = tf.nn.softmax(kernel + bias)
    kept = tf.stop_gradient(tf.nn.softmax(kept_kernel + kept_bias))
    transitions, rewards = (tf.constant(TABLES[name], tf.float64) for name in ("transitions", "rewards"))
    if not local:
        value = tf.zeros([2], tf.float64)
        for _ in range(HORIZON):
            value = tf.reduce_sum(policy * (rewards + DISCOUNT * tf.linalg.matvec(transitions, value)), 1)
        return value[0]
    later, value = [], tf.zeros([2], tf.float64)
    for _ in range(HORIZON):
        later.insert(0, rewards + DISCOUNT * tf.linalg.matvec(transitions, value))
        value = tf.reduce_sum(kept * later[0], 1)
    total, here = 0.0, tf.constant([1.0, 0.0], tf.float64)
    for step in range(HORIZON):
        total += DISCOUNT**step * tf.reduce_sum(here[:, None] * policy * later[step])
        here = tf.einsum("s,sa,sak->k", here, kept, transitions)
    return total


def derivatives(function, point, direction):
    """Gradient, and Hessian times a direction."""
    with tf.GradientTape() as outer:
        outer.watch(point)
        with tf.GradientTape() as inner:
            inner.watch(point)
            value = function(*point)
        gradient = inner.gradient(value, point)
        slope = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(gradient, direction, strict=True)])
    return np.concatenate([np.ravel(each) for each in gradient]), np.concatenate(
        [np.ravel(each) for each in outer.gradient(slope, point)]
    )


@pytest.mark.parametrize("baseline", ["none", "mean", "linear"])
@pytest.mark.parametrize("surrogate", ["dice", "lvc"])
def test_derivatives_equal_enumeration(process, surrogate, baseline):
    """Gradient and Hessian over all trajectories, weighted by probability, equal the true ones to 1e-8."""
    environment, model, episodes = process
    learner = ml.problems.policy(
        environment, model, ml.rules.sgd(0.1), surrogate=surrogate, baseline=baseline, discount=DISCOUNT
    )
    point = [tf.constant(KERNEL), tf.constant(BIAS)]
    direction = [tf.constant([[0.3, -1.0], [0.7, 0.2]], tf.float64), tf.constant([1.0, 0.4], tf.float64)]

    def loss(kernel, bias):
        return -learner.problem.inner_loss(parameters_of_tensors(model, kernel, bias), {}, episodes, ())

    def exact(kernel, bias):
        return exact_return(kernel, bias, *point, local=surrogate == "lvc")

    np.testing.assert_allclose(loss(*point), exact_return(*point, *point, local=False), rtol=1e-12)
    for found, expected in zip(
        derivatives(loss, point, direction), derivatives(exact, point, direction), strict=True
    ):
        assert np.abs(expected).max() > 0.05
        np.testing.assert_allclose(found, expected, atol=1e-8)


def parameters_of_tensors(model, kernel, bias):
    return {name: bias if "bias" in name else kernel for name in ml.functional.parameters(model)}


def test_the_term_of_exploration_is_exact():
    """With the term of exploration, the gradient equals that of the enumerated expectation.

    After one step by one trajectory of one decision, this is d/dtheta sum_a p(a; theta) J(theta'(a)).
    """
    environment, model = environments.Tabular(2, 2), linear_model(2, 2)
    tables = {name: tf.constant(value, tf.float64) for name, value in TABLES.items()}

    def episodes(grid):
        uniform = tf.constant(np.reshape(grid, [-1, 1, 1]))
        return Noise(tf.zeros([len(grid), 0]), tf.zeros_like(uniform), uniform)

    singles = [episodes([each]) for each in GRID]
    support = tf.nest.map_structure(lambda *leaves: tf.stack(leaves)[:, None], *singles)
    query = tf.nest.map_structure(lambda leaf: tf.stack([leaf] * 4), episodes((np.arange(4000) + 0.5) / 4000))
    tables = {name: tf.stack([value] * 4) for name, value in tables.items()}
    task = ml.Task(Episodes(tables, support), Episodes(tables, query))
    learner = ml.problems.policy(
        environment, model, ml.rules.sgd(0.5), surrogate="plain", baseline="none", exploratory=True
    )
    meta = {"parameters": parameters_of(model, KERNEL, BIAS), "rule": {}}
    found = one_by_one(learner).meta_gradient(meta, task).gradient["parameters"]

    rewards = np.array(TABLES["rewards"][0])

    def expected(kernel):
        logits = kernel[0]
        total = 0.0
        for action in range(2):
            probability = tf.nn.softmax(logits)[action]
            # The rate 0.5 twice: a row of the kernel moves, and the bias does.
            chosen = tf.one_hot(action, 2, dtype=tf.float64)
            after = logits + 2 * 0.5 * rewards[action] * (chosen - tf.nn.softmax(logits))
            total += probability * tf.reduce_sum(tf.nn.softmax(after) * rewards)
        return -total

    kernel = tf.constant(KERNEL)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        value = expected(kernel)
    (mine,) = (value for name, value in found.items() if "bias" not in name)
    np.testing.assert_allclose(mine, tape.gradient(value, kernel), atol=1e-3)


def test_pathwise_derivatives_equal_differences():
    """The derivative through 5 steps of the cart-pole equals differences, to 1e-6."""
    environment, model = environments.CartPole(), ml.models.mlp(4, (3,), 1, "tanh")
    task = ml.tasks.Rollouts(environment, 2, 5).sample((0, 0), 1).query
    episodes = tf.nest.map_structure(lambda leaf: tf.cast(leaf[0], tf.float64), task)
    learner = ml.problems.policy(environment, model, ml.rules.sgd(0.1), surrogate="pathwise")
    theta = {name: tf.cast(value, tf.float64) for name, value in ml.functional.initialize(model, 0).items()}

    def loss(theta):
        return learner.problem.inner_loss(theta, {}, episodes, ())

    with tf.GradientTape() as tape:
        tape.watch(theta)
        value = loss(theta)
    gradient = tape.gradient(value, theta)
    slope = sum(float(tf.reduce_sum(leaf)) for leaf in gradient.values())
    moved = [float(loss(tf.nest.map_structure(lambda leaf, by=by: leaf + by, theta))) for by in (1e-5, -1e-5)]
    np.testing.assert_allclose(slope, (moved[0] - moved[1]) / 2e-5, rtol=1e-6)


def test_every_step_has_a_rollout_of_its_own():
    source = ml.tasks.Rollouts(environments.Bandit(), 3, 1, batches=2)
    task = tf.nest.map_structure(lambda leaf: leaf[0], source.sample((0, 0), 1))
    problem = ml.problems.policy(source.environment, linear_model(1, 1), ml.rules.sgd(0.1)).problem
    first, second, third = (problem.batch(task, step).noise.action.numpy() for step in range(3))
    assert (first != second).all()
    np.testing.assert_array_equal(first, third)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"surrogate": "reinforce"}, "surrogate must be one of dice, lvc, plain, pathwise, got 'reinforce'"),
        ({"baseline": "value"}, "baseline must be one of linear, mean, none, got 'value'"),
        ({"discount": 1.5}, r"discount must be a number in \[0, 1\], got 1.5"),
        ({"deviation": 0.0}, "deviation must be a finite number above 0"),
        ({"exploratory": True}, "exploratory=True requires surrogate='plain'"),
        ({"surrogate": "pathwise"}, "needs derivatives, but Tabular has none"),
        ({"model": (3, 2)}, "the model has 3 inputs and 2 outputs, but Tabular needs 2 for an observation"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    model = linear_model(*options.pop("model", (2, 2)))
    with pytest.raises(ValueError, match=message):
        ml.problems.policy(environments.Tabular(2, 2), model, ml.rules.sgd(0.1), **options)
