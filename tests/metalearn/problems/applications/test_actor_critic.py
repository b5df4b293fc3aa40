"""The meta-gradient of discount and trace against NumPy and differences; a carried actor-critic."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.problems.applications.rollout import batch_of, distribution_of, followed

environments = ml.tasks.environments

STATES, CHOICES, HORIZON, RATE = 3, 2, 4, 0.3
REFERENCE = 0.95


def learner_of(environment, rate=RATE, **options):
    model = ml.models.mlp(STATES, (), CHOICES + 1)
    return ml.problems.actor_critic(environment, model, ml.rules.sgd(rate), **options), model


def returns(rewards, values, discount, trace):
    """The lambda-returns of one trajectory, from its end."""
    found, after, following = np.zeros_like(rewards), 0.0, 0.0
    for step in reversed(range(len(rewards))):
        after = rewards[step] + discount * ((1 - trace) * following + trace * after)
        found[step], following = after, values[step]
    return found


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def update(tables, trajectories, discount, trace):
    """One semi-gradient step of a table of logits and a table of values with a bias each, state by state."""
    kernel, bias = tables
    moved = [np.zeros_like(kernel), np.zeros_like(bias)]
    for states, actions, rewards in trajectories:
        outputs = kernel[states] + bias
        targets = returns(rewards, outputs[:, -1], discount, trace)
        for state, action, output, target in zip(states, actions, outputs, targets, strict=True):
            error = target - output[-1]
            slope = np.append(error * (np.eye(CHOICES)[action] - softmax(output[:-1])), error)
            moved[0][state] += RATE * slope / len(trajectories)
            moved[1] += RATE * slope / len(trajectories)
    return kernel + moved[0], bias + moved[1]


def test_the_meta_gradient_equals_differences():
    """The meta-gradient equals differences of the outer surrogate through a NumPy update, to 1e-7.

    The advantages of the outer surrogate are constants.
    """
    environment = environments.Tabular(STATES, CHOICES)
    learner, model = learner_of(environment, discount=0.7, trace=0.6, reference=REFERENCE)
    task = tf.nest.map_structure(
        lambda leaf: tf.cast(leaf, tf.float64), ml.tasks.Rollouts(environment, 5, HORIZON).sample((0, 0), 1)
    )
    meta = tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.float64), learner.initialize(0))
    found = learner.meta_gradient(meta, task)

    one = tf.nest.map_structure(lambda leaf: leaf[0], task)
    theta = learner.problem.start(meta, one)
    (kernel,), (bias,) = ([v.numpy() for k, v in theta.items() if ("bias" in k) is b] for b in (False, True))

    def trajectories(tables, episodes):
        """Rollouts of the environment, which are compared with NumPy in other tests."""
        named = {name: tf.constant(tables["bias" in name]) for name in theta}
        network = lambda theta, inputs: ml.functional.apply(model, theta, inputs)  # noqa: E731
        spec = environment.spec
        result = followed(environment, network, named, distribution_of(spec, 1.0), episodes).trajectories
        return list(zip(np.argmax(result[0], -1), result[1].numpy(), result[2].numpy(), strict=True))

    seen = trajectories((kernel, bias), batch_of(one, 0))
    after = update((kernel, bias), seen, 0.7, 0.6)
    asked = trajectories(after, one.query)
    kept = [
        returns(rewards, (after[0][states] + after[1])[:, -1], REFERENCE, 1.0)
        - (after[0][states] + after[1])[:, -1]
        for states, _, rewards in asked
    ]

    def outer(*logits):
        table, shift = update((kernel, bias), seen, *(1 / (1 + np.exp(-np.array(logits)))))
        total = 0.0
        for (states, actions, _), weights in zip(asked, kept, strict=True):
            for state, action, weight in zip(states, actions, weights, strict=True):
                total -= weight * np.log(softmax((table[state] + shift)[:-1])[action]) / len(asked)
        return total

    point, step = [float(meta["discount"]), float(meta["trace"])], 1e-5
    expected = [
        (outer(point[0] + step, point[1]) - outer(point[0] - step, point[1])) / (2 * step),
        (outer(point[0], point[1] + step) - outer(point[0], point[1] - step)) / (2 * step),
    ]
    assert min(map(abs, expected)) > 1e-4
    mine = [float(found.gradient[name]) for name in ("discount", "trace")]
    np.testing.assert_allclose(mine, expected, rtol=1e-7)
    values = {name: float(value[0]) for name, value in found.metrics.items()}
    expected_return = np.mean([rewards.sum() for _, _, rewards in asked])
    np.testing.assert_allclose(
        [values["return"], values["discount"], values["trace"]], [expected_return, 0.7, 0.6]
    )


@pytest.mark.slow
def test_a_carried_actor_critic_learns_while_its_discount_does():
    """With fixed tasks, the return increases until each restart, while the discount changes."""
    environment = environments.Tabular(STATES, CHOICES)
    learner, _ = learner_of(environment, rate=0.1)
    tasks = ml.tasks.Rollouts(environment, 20, HORIZON, population=20)
    optimizer = keras.optimizers.Adam(0.01)
    trainer = ml.MetaTrainer(learner, tasks, optimizer, 20, carry=60, check_derivatives=False)
    returned = trainer.run(120)["outer/return"]
    for life in (returned[:60], returned[60:]):
        assert life[-10:].mean() > life[:3].mean() + 0.5
    assert abs(float(tf.sigmoid(trainer.meta["discount"])) - 0.9) > 0.005


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"discount": 1.0}, "discount must be between 0 and 1 to be learned by its logit, got 1.0"),
        ({"trace": -0.5}, r"trace must be a number in \[0, 1\], got -0.5"),
        ({"reference": 2.0}, r"reference must be a number in \[0, 1\], got 2.0"),
        ({"deviation": 0.0}, "deviation must be a finite number above 0"),
        (
            {"outputs": 2},
            "3 inputs and 2 outputs, but Tabular needs 3 .* 2 for an action and 1 for a value",
        ),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    model = ml.models.mlp(STATES, (), options.pop("outputs", CHOICES + 1))
    with pytest.raises(ValueError, match=message):
        ml.problems.actor_critic(environments.Tabular(STATES, CHOICES), model, ml.rules.sgd(0.1), **options)
