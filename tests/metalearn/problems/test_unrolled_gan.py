"""An unrolled generative adversarial network whose discriminator is carried from iteration to iteration."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.random import normal, split_seed, uniform

MODES, NOISE, EXAMPLES, STEPS, DEVIATION = 8, 16, 256, 5, 0.02


def mixture():
    """Return the means of the mixture, on a circle of radius 2."""
    angles = np.arange(MODES) * 2 * np.pi / MODES
    return tf.constant(2 * np.stack([np.cos(angles), np.sin(angles)], 1), tf.float32)


class Mixture:
    """Real examples and noise for every inner step, and for the generator."""

    def sample(self, seed, tasks):
        """Draw a mini-batch for each of the discriminator's steps, and one for the generator."""
        support, query = split_seed(seed, 2)
        return ml.Task(self._draw(support, [tasks, STEPS, EXAMPLES]), self._draw(query, [tasks, EXAMPLES]))

    def _draw(self, seed, shape):
        modes, spread, noise = split_seed(seed, 3)
        means = tf.gather(mixture(), tf.cast(MODES * uniform(shape, modes), tf.int32))
        return {
            "real": means + normal([*shape, 2], spread, deviation=DEVIATION),
            "noise": normal([*shape, NOISE], noise),
        }


@pytest.mark.slow
@pytest.mark.parametrize(("carry", "finds_all"), [("forever", True), (None, False)])
def test_carried_adam_finds_the_modes_of_a_mixture(carry, finds_all):
    """With a carried discriminator and Adam state, at least 7 of 8 modes are found, with 85 % of points.

    If the discriminator restarted in every iteration, the generator would not learn this. Metz et al. (2017),
    "Unrolled Generative Adversarial Networks", section 3.1.
    """
    generator = ml.models.mlp(NOISE, (64, 64), 2)
    discriminator = ml.models.mlp(2, (64, 64), 1)

    def loss(theta, phi, batch, model):
        fake = ml.functional.apply(generator, phi, batch["noise"])
        logits = [ml.functional.apply(discriminator, theta, points) for points in (batch["real"], fake)]
        targets = [0.9, 0.0]
        return tf.add_n(
            [
                tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.zeros_like(logit) + target, logit))
                for logit, target in zip(logits, targets, strict=True)
            ]
        )

    problem = ml.BilevelProblem(
        start=lambda phi, task: ml.functional.initialize(discriminator, 2),
        inner_loss=loss,
        outer_loss=lambda theta, phi, task, model: -loss(theta, phi, task.query, model),
        rule=ml.rules.adam(1e-4, beta_1=0.5),
        steps=STEPS,
        batch=ml.problems.slices(STEPS),
    )
    learner = ml.BilevelLearner(problem, start=lambda seed: ml.functional.initialize(generator, seed))
    trainer = ml.MetaTrainer(
        learner, Mixture(), keras.optimizers.Adam(1e-3, beta_1=0.5), meta_batch_size=1, seed=1, carry=carry
    )
    trainer.run(4000)
    points = ml.functional.apply(generator, trainer.meta, normal([2000, NOISE], (9, 9))).numpy()
    distances = np.linalg.norm(points[:, None] - mixture().numpy()[None], axis=-1)
    near = distances.argmin(1)[distances.min(1) < 0.3]
    found = int((np.bincount(near, minlength=MODES) > 20).sum())
    assert (found >= 7 and len(near) / 2000 >= 0.85) is finds_all
