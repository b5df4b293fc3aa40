"""Unrolled players: the Dirac GAN's recursion in NumPy, and equal gradients from every estimator."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.random import normal
from metalearn.sources.ring import coverage

RATE = 0.125
"""Of both players; a float32 number, which Keras makes of a rate."""


def sigmoid(x):
    """Return ``1 / (1 + exp(-x))``."""
    return 1 / (1 + np.exp(-x))


def played(phi, psi, unrolled, iterations):
    """Return both players after each iteration, by the recursion of the steps ahead and their derivative.

    ``psi' = psi + a phi s(-psi phi)``; its derivative ``D' = D + a (s - phi s (1 - s) (psi + phi D))``.
    """
    history = []
    for _ in range(iterations):
        psi = psi + RATE * phi * sigmoid(-psi * phi)
        ahead, by_phi = psi, 0.0
        for _ in range(unrolled):
            s = sigmoid(-ahead * phi)
            by_phi, ahead = (
                by_phi + RATE * (s - phi * s * (1 - s) * (ahead + phi * by_phi)),
                ahead + RATE * phi * s,
            )
        phi = phi - RATE * sigmoid(-ahead * phi) * (ahead + phi * by_phi)
        history.append((phi, psi))
    return np.array(history)


@pytest.mark.parametrize("unrolled", [0, 8])
def test_dirac(unrolled):
    """200 iterations equal NumPy's to 1e-10; the players circle without unrolling and converge with it."""
    keras.config.set_floatx("float64")
    try:
        learner = ml.problems.dirac(unrolled, rule=ml.rules.sgd(RATE), start=(1.0, 0.5))
    finally:
        keras.config.set_floatx("float32")
    learner = dataclasses.replace(learner, problem=dataclasses.replace(learner.problem, mapping="sequential"))
    tasks = ml.tasks.dataset(np.zeros((1, 1)))
    trainer = ml.MetaTrainer(
        learner, tasks, keras.optimizers.SGD(RATE), meta_batch_size=1, carry="forever", jit_compile=False
    )
    trainer.run(200)
    expected = played(1.0, 0.5, unrolled, 200)
    np.testing.assert_allclose(trainer.meta, expected[-1, 0], rtol=0, atol=1e-10)
    largest = np.abs(expected[-60:]).max()
    assert largest > 0.9 if unrolled == 0 else largest < 0.5


def discriminator_loss(theta, phi, data):
    """Return the loss of a linear discriminator; the generator scales and moves noise."""
    fake = data["noise"] * phi["scale"] + phi["shift"]
    on_real, on_fake = (tf.linalg.matvec(points, theta["w"]) for points in (data["real"], fake))
    return tf.reduce_mean(tf.math.softplus(-on_real)) + tf.reduce_mean(tf.math.softplus(on_fake))


def test_every_estimator_gives_the_gradient_of_the_steps_ahead(in_graph, as_vector, as_float64):
    """Gradients equal those of an explicit loop under a tape from Adam's state after the step, to 1e-12."""
    rule, unrolled, start = ml.rules.adam(0.1, beta_1=0.5), 2, {"w": tf.constant([0.4, -0.3], tf.float64)}
    problem = ml.problems.unrolled_players(
        start=lambda: start,
        inner_loss=discriminator_loss,
        outer_loss=lambda theta, phi, data: -discriminator_loss(theta, phi, data),
        rule=rule,
        unrolled=unrolled,
    )
    problem = dataclasses.replace(problem, mapping="sequential")
    tasks = as_float64(ml.tasks.Ring(examples=4, noise_size=2).sample((0, 0), 1))
    support, query = (tf.nest.map_structure(lambda leaf: leaf[0], part) for part in tasks[:2])
    phi = as_float64({"scale": tf.constant([0.7, 1.2]), "shift": tf.constant([0.1, -0.4])})

    def step(theta, state, phi, data, k):
        with tf.GradientTape() as tape:
            tape.watch(theta)
            loss = discriminator_loss(theta, phi, data)
        return rule.update(tape.gradient(loss, theta), state, theta, {}, k)

    taken = step(start, rule.init(start), phi, support, 0)

    def generator_loss(phi):
        ahead, state = taken
        for k in range(unrolled):
            ahead, state = step(ahead, state, phi, query, k + 1)
        return -discriminator_loss(ahead, phi, query)

    value, expected = ml.derivatives.value_and_gradient(generator_loss, phi)
    for estimator in (ml.estimators.first_order(), ml.estimators.checkpointed()):
        result = in_graph(lambda phi, estimator=estimator: estimator(problem, phi, tasks)[0])(phi)
        np.testing.assert_allclose(result.loss[0], value, rtol=1e-12)
        np.testing.assert_allclose(as_vector(result.gradient), as_vector(expected), rtol=0, atol=1e-12)


def test_the_losses_of_a_mixture():
    """The loss is TensorFlow's cross-entropy of logits, with the target 0.9 for real examples, to 1e-6."""
    generator, discriminator = ml.models.mlp(2, (3,), 2), ml.models.mlp(2, (3,), 1)
    problem = ml.problems.gaussians(generator, discriminator, 0, seed=1).problem
    data = tf.nest.map_structure(
        lambda leaf: leaf[0], ml.tasks.Ring(examples=4, noise_size=2).sample((0, 0), 1)
    )
    phi = ml.functional.initialize(generator, 0)
    begun = problem.start(phi, data)
    fake = ml.functional.apply(generator, phi, data.query["noise"])
    expected = 0.0
    for points, target in ((data.query["real"], 0.9), (fake, 0.0)):
        logits = ml.functional.apply(discriminator, ml.functional.initialize(discriminator, 1), points)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(logits.shape, target), logits)
        expected -= float(tf.reduce_mean(losses))
    found, reported = problem.outer_loss(begun.parameters, phi, data, begun.model)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    means = ml.tasks.Ring().means
    assert reported["share"] == np.mean(np.linalg.norm(fake.numpy()[:, None] - means, axis=-1).min(1) < 0.3)


def test_what_cannot_be_is_refused():
    models = [ml.models.mlp(2, (3,), 2), ml.models.mlp(2, (3,), 1)]
    with pytest.raises(ValueError, match="smoothing must be above 0"):
        ml.problems.gaussians(*models, smoothing=0.0)
    with pytest.raises(ValueError, match="steps must be an integer of at least 0"):
        ml.problems.gaussians(*models, unrolled=-1)
    with pytest.raises(ValueError, match="returns points of 1 numbers"):
        ml.problems.gaussians(models[1], models[1])
    with pytest.raises(ValueError, match="start must be a finite number"):
        ml.problems.dirac(start=(0.0, float("inf")))
    with pytest.raises(ValueError, match="has learned hyperparameters"):
        ml.problems.dirac(rule=ml.rules.sgd(ml.rules.learned(0.1)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_looking_ahead_finds_the_modes(seed):
    """Five unrolled steps find at least 7 of 8 modes, at a rate at which the ordinary network does not."""
    ring = ml.tasks.Ring()
    generator, discriminator = ml.models.mlp(ring.noise_size, (64, 64), 2), ml.models.mlp(2, (64, 64), 1)
    found = {}
    for unrolled in (0, 5):
        learner = ml.problems.gaussians(generator, discriminator, unrolled, seed=seed + 100)
        optimizer = keras.optimizers.Adam(1e-3, beta_1=0.5)
        trainer = ml.MetaTrainer(learner, ring, optimizer, meta_batch_size=1, seed=seed, carry="forever")
        trainer.run(6000)
        noise = normal([2000, ring.noise_size], (9, 9))
        points = ml.functional.apply(generator, trainer.meta, noise)
        found[unrolled] = coverage(points, tf.constant(ring.means, tf.float32))
    assert found[5].modes >= 7, found
    assert found[5].share >= 0.85, found
    assert found[0].modes < 7 or found[0].share < 0.85, found
