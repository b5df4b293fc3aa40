"""Weights of training examples from a network that rates examples and generalises to new ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from metalearn import losses, metrics, rules
from metalearn.checks import require_count
from metalearn.estimators import Estimator, checkpointed
from metalearn.nn import functional
from metalearn.problems.applications.classifier import Classifier, consecutive, require_classes
from metalearn.problems.bilevel import BilevelProblem
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Batch, Meta, Parameters, Rule, Structure, Task

UNSEEN = ("asked_labels", "asked_wrong")
"""Keys of ``Task.info`` for the metric: other labels of the query examples, and the mask of wrong ones."""


def datarater(
    model: keras.Model,
    rater: keras.Model,
    rule: Rule,
    steps: int = 100,
    batch: int = 100,
    estimator: Estimator | None = None,
    seed: int = 0,
) -> BilevelLearner:
    """Return a learner of a network that weights training examples, some of which have wrong labels.

    ::

        score_n    = r_phi(x_n)[y_n]                                the rater's output at the example's label
        inner loss = sum_{n in batch k} softmax(score)_n CE(y_n, f_theta(x_n))
        outer loss = 1/M sum_m CE(y_m, f_theta_K(x_m))              over query examples, all clean

    The outer loss reports ``accuracy`` and, for tasks whose ``info`` marks wrong labels, ``auc``: the
    probability that a query example with a correct label scores higher than one with a wrong label, if query
    examples have the labels ``info["asked_labels"]``, of which the mask ``info["asked_wrong"]`` are wrong.

    Args:
        model: a built Keras model that returns logits.
        rater: a built Keras model that returns scores for the same number of classes.
        rule: the inner update rule.
        steps: K.
        batch: B; step k takes the support's rows ``k B, k B + 1, ...`` modulo their number.
        estimator: the estimator of the gradient with respect to ``phi = {"rater": ...}``;
            ``checkpointed()`` by default.
        seed: the seed of both models' initial parameters; those of ``model`` are the same for every inner
            loop.

    Raises:
        ValueError: if a number is out of range, or the models are not supported or do not fit each other;
            when tasks are given, if there is a class without an output of the models.

    Reference: Calian et al. (2025), "DataRater: Meta-Learned Dataset Curation", section 2.
    """
    classifier, judge, rule = Classifier(model), Classifier(rater), rules.get(rule)
    require_count("batch", batch)
    if judge.classes != classifier.classes:
        raise ValueError(f"rater has {judge.classes} outputs and model {classifier.classes}: make them equal")
    theta_0 = functional.initialize(model, seed)
    phi = {"rater": functional.initialize(rater, seed), "rule": rule.learnable(theta_0)}

    rated = Rated(classifier, judge, theta_0)
    problem = BilevelProblem(
        start=rated.start,
        inner_loss=rated.inner_loss,
        outer_loss=rated.outer_loss,
        rule=rule,
        steps=steps,
        batch=lambda task, step: consecutive(task.support, step, batch)[0],
    )
    return BilevelLearner(problem, estimator or checkpointed(), phi)


@dataclasses.dataclass(frozen=True)
class Rated:
    """The functions of one task; see :func:`datarater`."""

    classifier: Classifier
    rater: Classifier
    theta_0: Parameters

    def scores(self, phi: Meta, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Return the rater's outputs at the labels, ``[N]``."""
        rated, _ = self.rater(phi["rater"], inputs)
        return tf.reduce_sum(rated * tf.one_hot(targets, self.rater.classes, dtype=rated.dtype), -1)

    def start(self, phi: Meta, task: Task) -> Parameters:
        """Return the initial parameters."""
        require_classes("datarater", task.support.targets, self.classifier.classes)
        dtype = tf.nest.flatten(phi)[0].dtype
        return tf.nest.map_structure(lambda leaf: tf.cast(leaf, dtype), self.theta_0)

    def inner_loss(self, theta: Parameters, phi: Meta, examples: Batch, state: Structure) -> tf.Tensor:
        """Return the weighted cross-entropy plus the model's own losses."""
        outputs, added = self.classifier(theta, examples.inputs)
        weights = examples.targets.shape[0] * tf.nn.softmax(self.scores(phi, *examples))
        soft = weights[:, None] * tf.one_hot(examples.targets, self.classifier.classes, dtype=outputs.dtype)
        return losses.cross_entropy(soft, outputs) + added

    def outer_loss(self, theta: Parameters, phi: Meta, task: Task, state: Structure) -> Any:
        """Return the cross-entropy of the query, the accuracy, and the AUC if the wrong labels are known."""
        inputs, targets = task.query
        outputs, _ = self.classifier(theta, inputs)
        require_classes("datarater", targets, self.classifier.classes)
        found = {"accuracy": metrics.accuracy(targets, outputs)}
        if isinstance(task.info, Mapping) and set(UNSEEN) <= set(task.info):
            labels, wrong = (task.info[name] for name in UNSEEN)
            found["auc"] = auc(~wrong, self.scores(phi, inputs, labels))
        return losses.cross_entropy(targets, outputs), found


def auc(positive: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Return the area under the ROC curve, ``P(positive > negative) + P(positive = negative) / 2`` of scores.

    Args:
        positive: a mask ``[N]``; without positives or negatives the area is 0.
        scores: ``[N]``.
    """
    above = (
        tf.cast(scores[:, None] > scores, scores.dtype) + tf.cast(scores[:, None] == scores, scores.dtype) / 2
    )
    pairs = tf.cast(positive[:, None] & ~positive, scores.dtype)
    return tf.reduce_sum(pairs * above) / tf.maximum(tf.reduce_sum(pairs), 1)
