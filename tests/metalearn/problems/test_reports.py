"""Separate outer losses, metrics, losses by name, and classifiers, in all public functions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from tests.metalearn.normalized import by_complex_step
from tests.often import mostly_slow

RATE, STEPS, CLASSES = 0.5, 2, 3
KEYS = ("output/kernel", "output/bias")


def blobs(seed, tasks):
    """Draw three classes around centres that differ by task; labels are integers."""
    rng = np.random.default_rng([*seed])
    centres = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]]) + 0.3 * rng.normal(size=(tasks, 1, 3, 2))
    batches = []
    for count in (2, 4):
        labels = np.repeat(np.tile(np.arange(CLASSES), count)[None], tasks, 0)
        points = np.tile(centres[:, 0], (1, count, 1)) + 0.5 * rng.normal(size=(tasks, count * CLASSES, 2))
        batches.append((points, labels.astype(np.int32)))
    return batches[0], batches[1]


@pytest.fixture(scope="module")
def source():
    return ml.tasks.from_function(blobs, dtype="float64")


def worst(targets, outputs):
    """Return the largest cross-entropy of an example, a user-defined metric."""
    chosen = tf.gather(tf.nn.log_softmax(outputs), targets, batch_dims=1)
    return -tf.reduce_min(chosen)


def hits(targets, outputs):
    """Return the number of right answers, an integer."""
    return tf.reduce_sum(tf.cast(right(targets, outputs), tf.int32))


def all_right(targets, outputs):
    """Return whether all answers are right, a truth value."""
    return tf.reduce_all(right(targets, outputs))


def right(targets, outputs):
    return tf.argmax(outputs, -1, output_type=tf.int32) == targets


def classifier(**options):
    """Return a learner of softmax regression in float64."""
    model = ml.models.mlp(2, (), CLASSES, dtype="float64")
    model.set_weights([0.1 * np.random.default_rng(1).normal(size=(2, CLASSES)), np.zeros(CLASSES)])
    return ml.MetaLearner(
        model, "cross_entropy", ml.rules.sgd(RATE), steps=STEPS, initialize="model", **options
    )


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def descended(p, x, labels, steps):
    for _ in range(steps):
        error = (np.exp(log_softmax(x @ p[0] + p[1])) - np.eye(CLASSES)[labels]) / len(x)
        p = [p[0] - RATE * x.T @ error, p[1] - RATE * error.sum(0)]
    return p


def judged(p, x, labels):
    """Return the cross-entropy, the accuracy and the largest cross-entropy of an example."""
    logits = x @ p[0] + p[1]
    losses = -log_softmax(logits)[np.arange(len(x)), labels]
    return losses.mean(), (logits.argmax(-1) == labels).mean(), losses.max()


def each(tasks):
    """Return tasks one by one, in NumPy."""
    batches = [(batch.inputs.numpy(), batch.targets.numpy()) for batch in (tasks.support, tasks.query)]
    return [[(x[index], y[index]) for x, y in batches] for index in range(len(batches[0][0]))]


@pytest.fixture(scope="module")
def learner():
    """Return a classifier that reports two metrics."""
    return classifier(metrics=("accuracy", worst))


class TestClassifier:
    """Integer labels ``[N]`` with logits ``[N, C]`` are checked by the loss, not by their shapes."""

    def test_meta_gradient_and_metrics(self, learner, source, in_graph):
        meta, tasks = learner.initialize(0), source.sample((0, 0), 3)
        values = [meta["parameters"][key].numpy() for key in KEYS]
        result = in_graph(learner.meta_gradient)(meta, tasks)
        assert result.metrics.keys() == {"accuracy", "worst"}
        for index, (support, query) in enumerate(each(tasks)):
            loss, accuracy, largest = judged(descended(values, *support, STEPS), *query)
            np.testing.assert_allclose(result.loss[index], loss, rtol=1e-12)
            np.testing.assert_allclose(result.metrics["accuracy"][index], accuracy, rtol=1e-12)
            np.testing.assert_allclose(result.metrics["worst"][index], largest, rtol=1e-12)

            def meta_loss(p, support=support, query=query):
                logits = query[0] @ descended(p, *support, STEPS)[0] + descended(p, *support, STEPS)[1]
                return -log_softmax(logits)[np.arange(len(logits)), query[1]].mean()

            for key, expected in zip(KEYS, by_complex_step(meta_loss, values), strict=True):
                found = result.per_task["parameters"][key][index]
                np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)

    def test_training(self, learner, source):
        """The first row of the history equals NumPy's; then the loss halves and the accuracy exceeds 0.95."""
        trainer = ml.MetaTrainer(learner, source, keras.optimizers.Adam(0.05), meta_batch_size=8)
        values = [trainer.meta["parameters"][key].numpy() for key in KEYS]
        tasks = each(trainer.training_tasks(0))
        first = np.mean([judged(descended(values, *s, STEPS), *q) for s, q in tasks], 0)
        history = trainer.run(60)
        for name, expected in zip(("loss", "accuracy", "worst"), first, strict=True):
            np.testing.assert_allclose(history[f"outer/{name}"][0], expected, rtol=1e-5)
        assert history["outer/loss"][-5:].mean() < 0.5 * history["outer/loss"][0]
        assert history["outer/accuracy"][-5:].mean() > 0.95

    def test_evaluation(self, learner, source):
        """Metrics of every task after each number of steps equal NumPy's."""
        meta = learner.initialize(0)
        values = [meta["parameters"][key].numpy() for key in KEYS]
        report = ml.evaluate(learner, meta, source, num_tasks=4, steps=3, seed=1)
        expected = np.array(
            [
                [judged(descended(values, *support, steps), *query) for steps in range(4)]
                for support, query in each(source.sample((1, -1), 4))
            ]
        )
        assert report.metrics.keys() == {"accuracy", "worst"}
        curves = report.per_task, report.metrics["accuracy"].per_task, report.metrics["worst"].per_task
        for place, curve in enumerate(curves):
            np.testing.assert_allclose(curve, expected[..., place], rtol=1e-10)
        accuracy = report.metrics["accuracy"]
        np.testing.assert_allclose(accuracy.mean, expected[..., 1].mean(0), rtol=1e-12)
        interval = 1.96 * expected[..., 1].std(0, ddof=1) / 2
        np.testing.assert_allclose(accuracy.ci95, interval, rtol=1e-10)

    def test_metrics_that_count_are_not_rounded(self, source):
        """Integers and truth values have exact means over tasks and over batches of queries."""
        learner = classifier(metrics=(hits, all_right))
        report = ml.evaluate(learner, learner.initialize(0), source, 4, steps=2, queries_at_once=4)
        whole = ml.evaluate(learner, learner.initialize(0), source, 4, steps=2)
        np.testing.assert_allclose(report.metrics["hits"].per_task * 3, whole.metrics["hits"].per_task)
        trainer = ml.MetaTrainer(learner, source, keras.optimizers.SGD(0.1), meta_batch_size=8)
        found = learner.meta_gradient(trainer.meta, trainer.training_tasks(0)).metrics
        history = trainer.run(1)
        for name in ("hits", "all_right"):
            np.testing.assert_allclose(history[f"outer/{name}"], np.mean(found[name]), rtol=1e-6)
        assert history["outer/hits"][0] % 1

    @pytest.mark.parametrize("name", ["loss", "loss_before"])
    def test_metrics_with_the_name_of_a_loss_are_refused(self, source, name):
        """Otherwise the history would have the metric in place of the minimised loss."""

        def metric(targets, outputs):
            return worst(targets, outputs)

        metric.__name__ = name
        learner = classifier(metrics=(metric,))
        with pytest.raises(ValueError, match=f"a metric is called '{name}', .*another name"):
            ml.MetaTrainer(learner, source, keras.optimizers.SGD(0.125))

    @pytest.mark.parametrize("rank", [0, 2])
    def test_labels_of_a_wrong_rank_are_refused(self, learner, rank):
        """Trainer and evaluation reject labels of a wrong rank before training, and name both shapes."""

        def wrong(seed, tasks):
            batches = blobs(seed, tasks)
            if rank == 2:
                return tuple((x, np.repeat(y[..., None], 2, -1)) for x, y in batches)
            return tuple((x, y[:, 0]) for x, y in batches)

        shown = r"\(6, 2\)" if rank == 2 else r"\(\)"
        message = rf"targets have shape {shown} \(int32\) and outputs \(6, 3\)"
        source = ml.tasks.from_function(wrong, dtype="float64")
        with pytest.raises(ValueError, match=message):
            ml.MetaTrainer(learner, source, keras.optimizers.SGD(0.125))
        with pytest.raises(ValueError, match=message):
            ml.evaluate(learner, learner.initialize(0), source, num_tasks=2, steps=1)


class TestOuterLoss:
    """The outer loss may differ from the inner one."""

    @pytest.mark.parametrize("by_name", mostly_slow([True, False], True))
    def test_it_judges_queries_alone(self, source, by_name):
        """The outer loss and metric are those of the queries after steps on the cross-entropy."""

        def unlikely(targets, outputs):
            return 1 - tf.reduce_mean(tf.gather(tf.nn.softmax(outputs), targets, batch_dims=1))

        options = {"metrics": (ml.metrics.accuracy,), "outer_loss": unlikely}
        if by_name:
            options = {"metrics": ("cross_entropy",), "outer_loss": "cross_entropy"}
        learner = classifier(**options)
        meta, tasks = learner.initialize(0), source.sample((0, 0), 2)
        values = [meta["parameters"][key].numpy() for key in KEYS]
        result, plain = (one.meta_gradient(meta, tasks) for one in (learner, classifier()))
        np.testing.assert_allclose(
            result.inner.parameters["output/kernel"], plain.inner.parameters["output/kernel"], rtol=1e-13
        )
        for index, (support, (x, labels)) in enumerate(each(tasks)):
            p = descended(values, *support, STEPS)
            likely = np.exp(log_softmax(x @ p[0] + p[1]))[np.arange(len(x)), labels]
            loss, accuracy, _ = judged(p, x, labels)
            expected = loss if by_name else 1 - likely.mean()
            np.testing.assert_allclose(result.loss[index], expected, rtol=1e-12)
            (metric,) = result.metrics.values()
            np.testing.assert_allclose(metric[index], loss if by_name else accuracy, rtol=1e-12)


class TestNames:
    """Losses, rules and estimators given by name equal the objects of these names."""

    def test_they_are_looked_up(self):
        model = ml.models.mlp()
        learner = ml.MetaLearner(
            model, "mse", "sgd", estimator="first_order", outer_loss="mean_absolute_error"
        )
        assert learner.loss is ml.losses.mse
        assert learner.rule == ml.rules.sgd()
        assert learner.estimator == ml.estimators.first_order()
        targets, outputs = tf.constant([[1.0], [3.0]]), tf.constant([[2.0], [5.0]])
        np.testing.assert_allclose(learner.outer_loss(targets, outputs), 1.5)

    @pytest.mark.parametrize("part", ["loss", "rule", "estimator", "outer_loss"])
    def test_unknown_names_are_refused(self, part):
        parts = {"loss": "mse", "rule": "sgd", part: "nonsense"}
        part = part.removeprefix("outer_")
        with pytest.raises(
            ValueError, match=rf"the {part} 'nonsense' is not known|there is no {part} 'nonsense': Known are"
        ):
            ml.MetaLearner(ml.models.mlp(), **parts)

    def test_metrics_of_one_name_are_refused(self):
        with pytest.raises(ValueError, match="two metrics are called 'accuracy'"):
            classifier(metrics=("accuracy", ml.metrics.accuracy))
