"""The ridge head compared with NumPy, its derivative, and a learner with it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


def by_numpy(features, targets, strength):
    inputs = np.concatenate([features, np.ones((len(features), 1))], 1)
    solution = np.linalg.solve(inputs.T @ inputs + strength * np.eye(inputs.shape[1]), inputs.T @ targets)
    return solution[:-1], solution[-1]


@pytest.mark.parametrize("examples", [3, 9], ids=["few", "many"])
@pytest.mark.parametrize("learned", [True, False])
def test_ridge_minimises_the_penalised_error(examples, learned):
    """The solution equals the normal equations in NumPy to 1e-12, for few and for many examples."""
    random = np.random.default_rng(0)
    features, targets = random.normal(size=(examples, 5)), random.normal(size=(examples, 2))
    head = ml.heads.ridge(0.3, learned=learned)
    assert set(head.hyperparameters) == ({"log_strength"} if learned else set())
    given = {"log_strength": tf.constant(np.log(0.3))} if learned else {}
    found = head.fit(tf.constant(features), tf.constant(targets), given)
    for ours, right in zip(found, by_numpy(features, targets, 0.3), strict=True):
        np.testing.assert_allclose(ours, right, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def learner():
    model = ml.models.mlp(hidden=(4,), activation="tanh", dtype="float64")
    return ml.MetaLearner(
        model, ml.losses.mse, ml.rules.sgd(0.05), steps=0, adapted="head", head=ml.heads.ridge(0.5)
    )


def test_the_meta_gradient_is_that_of_differences(learner, sinusoids, in_graph):
    """The meta-gradient by features and strength equals differences to 1e-6; phi contains no head."""
    meta = learner.initialize(0)
    assert set(meta["parameters"]) == {"hidden_0/kernel", "hidden_0/bias"}
    assert set(meta["head"]) == {"log_strength"}
    gradient = in_graph(learner.meta_gradient)(meta, sinusoids).gradient
    loss = in_graph(lambda meta: tf.reduce_mean(learner.meta_gradient(meta, sinusoids).loss))
    report = ml.derivatives.check_gradients(loss, meta, gradient, directions=3)
    assert report.passed(1e-6), report.worst


def test_adaptation_solves_and_then_steps(learner, sinusoids):
    """After 0 steps the head is the ridge solution on each task's features; a step reduces the loss."""
    meta = learner.initialize(0)
    solved = learner.adapt(meta, sinusoids.support, steps=0).parameters
    inputs = sinusoids.support.inputs.numpy()
    features = np.tanh(inputs @ meta["parameters"]["hidden_0/kernel"] + meta["parameters"]["hidden_0/bias"])
    for task in range(3):
        kernel, bias = by_numpy(features[task], sinusoids.support.targets[task].numpy(), 0.5)
        np.testing.assert_allclose(solved["output/kernel"][task], kernel, rtol=0, atol=1e-12)
        np.testing.assert_allclose(solved["output/bias"][task], bias, rtol=0, atol=1e-12)
    stepped = learner.adapt(meta, sinusoids.support, steps=1)
    assert np.all(stepped.support_loss[:, 1] < stepped.support_loss[:, 0])


def test_losses_before_the_first_step_are_those_of_the_solution(learner, sinusoids, in_graph):
    meta = learner.initialize(0)
    fitted = learner.adapt(meta, sinusoids.support)
    losses = in_graph(learner.losses)(
        meta,
        sinusoids,
        ml.Inner({key: fitted.parameters[key] for key in ("output/kernel", "output/bias")}),
    )
    np.testing.assert_allclose(losses["outer/loss_before"], losses["outer/loss"], rtol=1e-12)
    np.testing.assert_allclose(losses["inner/loss_before"], fitted.support_loss[:, 0], rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"adapted": "body"}, "output/bias, output/kernel .* adapted='head'"),
        ({"proximal": 1.0}, "proximal"),
        ({"batch": ml.problems.slices(2)}, "batch"),
        ({"estimator": ml.estimators.reptile(), "adapted": "all"}, "reptile .* head"),
        ({"steps": -1}, "steps"),
        (
            {"model": keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, "relu")])},
            "does not fit: a head needs",
        ),
    ],
    ids=["adapted", "proximal", "batch", "reptile", "steps", "activation"],
)
def test_what_does_not_go_with_it_is_refused(changes, named):
    settings = {"adapted": "head", "head": ml.heads.ridge(), "model": ml.models.mlp(), **changes}
    with pytest.raises(ValueError, match=named):
        ml.MetaLearner(loss=ml.losses.mse, rule=ml.rules.sgd(), **settings)


def test_a_strength_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="strength"):
        ml.heads.ridge(0.0)
