"""Dropout in the inner loop: a pure function of the seed, the right distribution, and off in queries."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from tests.metalearn.normalized import RATE, network

DROPPED = 0.25
X, T = np.array([[0.8, -1.1], [1.3, 0.6]]), np.array([[0.7], [-0.4]])
QUERY, ANSWER = np.array([[0.5, 1.2], [-0.9, 0.3], [1.1, -0.2]]), np.array([[0.2], [0.9], [-0.5]])
W, B = np.array([[0.3], [-0.7]]), np.array([0.2])


def learner_of(steps, mapping="auto"):
    """Return a learner of linear regression with dropout on the inputs."""
    layers = [
        keras.layers.Dropout(DROPPED, dtype="float64"),
        keras.layers.Dense(1, name="output", dtype="float64"),
    ]
    model = keras.Sequential([keras.Input((2,), dtype="float64"), *layers])
    model.get_layer("output").set_weights([W, B])
    return ml.MetaLearner(model, "mse", ml.rules.sgd(RATE), steps=steps, initialize="model", mapping=mapping)


def equal_tasks(count):
    """Return one task many times."""
    batches = [ml.Batch(*(tf.constant(each)[None] for each in pair)) for pair in ((X, T), (QUERY, ANSWER))]
    return tf.nest.map_structure(lambda leaf: tf.repeat(leaf, count, axis=0), ml.Task(*batches))


def meta_losses(steps):
    """Return the probability and the meta-loss of every sequence of masks, and which repeat one mask."""
    masks = [np.reshape(bits, X.shape) for bits in itertools.product((0, 1), repeat=X.size)]
    probabilities, losses, repeats = [], [], []
    for sequence in itertools.product(masks, repeat=steps):
        w, b, probability = W, B, 1.0
        for mask in sequence:
            probability *= np.prod(np.where(mask, 1 - DROPPED, DROPPED))
            kept = X * mask / (1 - DROPPED)
            error = kept @ w + b - T
            w, b = w - RATE * 2 * kept.T @ error / len(X), b - RATE * 2 * error.mean(0)
        probabilities.append(probability)
        losses.append(((QUERY @ w + b - ANSWER) ** 2).mean())
        repeats.append(all(np.array_equal(mask, sequence[0]) for mask in sequence))
    return np.array(probabilities), np.array(losses), np.array(repeats)


@pytest.fixture(scope="module")
def drawn_losses():
    """Return the meta-losses of one task under 4096 seeds of noise, after two steps."""
    learner = learner_of(2)
    compute = tf.function(lambda seed: learner.meta_gradient(meta, tasks, seed).loss, autograph=False)
    meta, tasks = learner.initialize(0), equal_tasks(256)
    return np.concatenate([compute(tf.constant([3, iteration])).numpy() for iteration in range(16)])


def test_every_loss_is_that_of_a_sequence_of_masks(drawn_losses):
    """Each loss equals that of one of the 256 sequences of masks, to 1e-12, without dropout in queries."""
    _, possible, _ = meta_losses(2)
    distances = np.abs(drawn_losses[:, None] - possible).min(1)
    assert distances.max() < 1e-12


def test_the_mean_over_seeds_is_the_expectation(drawn_losses):
    """The mean loss is within 4 standard errors of the expectation over all sequences of masks."""
    probabilities, losses, _ = meta_losses(2)
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-12)
    expected = probabilities @ losses
    deviation = np.sqrt(probabilities @ (losses - expected) ** 2)
    assert abs(drawn_losses.mean() - expected) < 4 * deviation / np.sqrt(len(drawn_losses))
    # Noise in the queries, or none at all, would be far outside.
    without = meta_losses(2)[1][-1]
    assert abs(without - expected) > 8 * deviation / np.sqrt(len(drawn_losses))


def test_steps_draw_independently(drawn_losses):
    """The frequency of equal masks in both steps is within 4 standard errors of its probability."""
    probabilities, losses, repeats = meta_losses(2)
    chance = probabilities[repeats].sum()
    found = repeats[np.abs(drawn_losses[:, None] - losses).argmin(1)].mean()
    assert abs(found - chance) < 4 * np.sqrt(chance * (1 - chance) / len(drawn_losses))


@pytest.fixture(scope="module")
def learner():
    return learner_of(2)


class TestSeeds:
    """The noise is a function of the run's seed, the iteration, the task and the step."""

    def test_equal_seeds_equal_bits(self, learner, in_graph):
        meta, tasks = learner.initialize(0), equal_tasks(8)
        compute = in_graph(learner.meta_gradient)
        results = [compute(meta, tasks, tf.constant(seed)) for seed in ((1, 4), (1, 4), (1, 5), (2, 4))]
        for one, other in zip(*map(tf.nest.flatten, results[:2]), strict=True):
            np.testing.assert_array_equal(one, other)
        for result in results[2:]:  # another iteration, another run
            assert not np.array_equal(result.loss, results[0].loss)
            key = "output/kernel"
            assert not np.array_equal(
                result.gradient["parameters"][key], results[0].gradient["parameters"][key]
            )

    def test_tasks_draw_for_themselves(self, learner):
        """Equal tasks have different noise, which does not depend on the number of tasks."""
        meta = learner.initialize(0)
        losses = learner.meta_gradient(meta, equal_tasks(8), (1, 4)).loss.numpy()
        assert len(np.unique(losses)) > 3
        np.testing.assert_array_equal(learner.meta_gradient(meta, equal_tasks(3), (1, 4)).loss, losses[:3])

    def test_adaptation_and_evaluation(self, learner):
        """Adaptation and evaluation depend on the given seed, and use no dropout in queries."""
        meta, tasks = learner.initialize(0), equal_tasks(4)
        fitted = [learner.adapt(meta, tasks.support, seed=seed) for seed in ((1, 4), (1, 4), (1, 5))]
        kernels = [each.parameters["output/kernel"].numpy() for each in fitted]
        np.testing.assert_array_equal(kernels[0], kernels[1])
        assert not np.array_equal(kernels[0], kernels[2])
        outputs = learner.predict(fitted[0], tasks.query.inputs)
        expected = QUERY @ kernels[0] + fitted[0].parameters["output/bias"].numpy()[:, None]
        np.testing.assert_allclose(outputs, expected, rtol=1e-12)
        source = ml.tasks.from_function(shifted, dtype="float64")
        reports = [ml.evaluate(learner, meta, source, 4, steps=1, seed=seed) for seed in (1, 1)]
        np.testing.assert_array_equal(reports[0].per_task, reports[1].per_task)
        drawn = source.sample((1, -1), 4).query
        before = np.mean((drawn.inputs.numpy() @ W + B - drawn.targets.numpy()) ** 2, (1, 2))
        np.testing.assert_allclose(reports[0].per_task[:, 0], before, rtol=1e-12)

    def test_a_training_is_reproduced(self, learner):
        """Two trainers with one seed have equal bits, however their iterations are divided into calls."""
        ends = []
        for runs in ((3,), (1, 2)):
            source = ml.tasks.from_function(shifted, dtype="float64")
            options = {"meta_batch_size": 2, "check_derivatives": False}
            trainer = ml.MetaTrainer(learner, source, keras.optimizers.SGD(0.125), **options)
            for iterations in runs:
                trainer.run(iterations)
            ends.append(trainer.state())
        for key, value in ends[0].items():
            np.testing.assert_array_equal(value, ends[1][key], err_msg=key)


def shifted(seed, tasks):
    """Draw tasks with targets of their own."""
    shift = np.random.default_rng([*seed]).normal(size=(tasks, 1, 1))
    support = np.repeat(X[None], tasks, 0), T + shift
    return support, (np.repeat(QUERY[None], tasks, 0), ANSWER + shift)


def test_tasks_are_mapped_one_by_one():
    """Tasks are mapped sequentially, because draws with a seed for each task have no vectorised form."""
    assert learner_of(1).mapping == "sequential"


def test_queries_do_not_drop_in_training_mode():
    """With ``statistics="batch"``, queries use batch statistics, but no dropout."""
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(2, 6, 3)), rng.normal(size=(2, 6, 2))) for _ in range(2)]
    tasks = ml.Task(*(ml.Batch(*map(tf.constant, pair)) for pair in pairs))
    plain, dropped = network(), network(dropout=0.5)
    dropped.set_weights(plain.get_weights())
    results = []
    for model in (plain, dropped):
        learner = ml.MetaLearner(
            model, "mse", ml.rules.sgd(RATE), steps=1, statistics="batch", initialize="model"
        )
        meta = learner.initialize(0)
        fitted = learner.adapt(meta, tasks.support, steps=0)
        results.append(
            (learner.predict(fitted, tasks.query.inputs), learner.meta_gradient(meta, tasks, (0, 1)).loss)
        )
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-12)
    assert not np.allclose(results[0][1], results[1][1], rtol=1e-3)
