"""Data hyper-cleaning: a weight for each training example, learned by the loss on a few clean ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from metalearn import losses, metrics, rules
from metalearn.checks import require_count
from metalearn.estimators import Estimator, checkpointed
from metalearn.nn import functional
from metalearn.problems.applications.classifier import Classifier, require_classes
from metalearn.problems.bilevel import BilevelProblem
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Batch, Meta, Parameters, Rule, Structure, Task

WRONG = "wrong"
"""The part of ``Task.info`` that says which examples have a wrong label, ``[N]``: for the metric alone."""


def cleaning(
    model: keras.Model,
    examples: int,
    rule: Rule,
    steps: int = 100,
    batch: int | None = None,
    estimator: Estimator | None = None,
    seed: int = 0,
) -> BilevelLearner:
    """Return the learner of the weights of training examples, some of which have a wrong label.

    ::

        inner loss = 1/B sum_{n in batch k} 2 sigmoid(weights_n) CE(y_n, f_theta(x_n))
        outer loss = 1/M sum_m CE(y_m, f_theta_K(x_m))                         over query examples, all clean

    With ``weights = 0`` every example counts once: that is training on the labels as they are. The outer loss
    reports ``accuracy``; and, for tasks whose ``info`` has the mask ``"wrong"``, ``f1``: of the examples
    that count less than once, taken for those with a wrong label.

    Args:
        model: a built Keras model that returns logits.
        examples: N, in the support ``(inputs [N, ...], classes [N])``.
        rule: the inner update.
        steps: K.
        batch: B, examples of an inner step, which divides N: step k takes rows ``k B, k B + 1, ...`` modulo N,
            and goes on where an inner loop is carried. All of them unless given.
        estimator: of the gradient with respect to ``phi = {"weights": [N]}``; ``checkpointed()`` unless given.
        seed: of the model's initial parameters, the same for every inner loop.

    Raises:
        ValueError: if a number is out of range, or the model is none that can be trained so; when it meets
            its tasks, if they have other than N examples, or a class that the model has no output for.

    Reference: Franceschi et al. (2017), "Forward and Reverse Gradient-Based Hyperparameter Optimization",
    section 5.1.
    """
    require_count("examples", examples)
    size = require_count_of("batch", examples if batch is None else batch, examples)
    classifier, theta_0 = Classifier(model), functional.initialize(model, seed)
    rule = rules.get(rule)

    def start(phi: Meta, task: Task) -> Parameters:
        targets = task.support.targets
        require_classes("cleaning", targets, classifier.classes)
        if targets.shape[0] != examples:
            raise ValueError(f"cleaning: the support has {targets.shape[0]} examples, not examples={examples}")
        return tf.nest.map_structure(lambda leaf: tf.cast(leaf, phi["weights"].dtype), theta_0)

    def rows(task: Task, step: int | tf.Tensor) -> tuple[Batch, tf.Tensor]:
        taken = (step * size + tf.range(size)) % examples
        return tf.nest.map_structure(lambda leaf: tf.gather(leaf, taken), task.support), taken

    def inner_loss(
        theta: Parameters, phi: Meta, seen: tuple[Batch, tf.Tensor], state: Structure
    ) -> tf.Tensor:
        (inputs, targets), taken = seen
        outputs, added = classifier(theta, inputs)
        weights = 2 * tf.sigmoid(tf.gather(phi["weights"], taken))
        weighted = weights[:, None] * tf.one_hot(targets, classifier.classes, dtype=outputs.dtype)
        return losses.cross_entropy(weighted, outputs) + added

    def outer_loss(theta: Parameters, phi: Meta, task: Task, state: Structure) -> Any:
        outputs, _ = classifier(theta, task.query.inputs)
        found = {"accuracy": metrics.accuracy(task.query.targets, outputs)}
        if isinstance(task.info, Mapping) and WRONG in task.info:
            found["f1"] = f1(task.info[WRONG], phi["weights"] < 0, outputs.dtype)
        return losses.cross_entropy(task.query.targets, outputs), found

    problem = BilevelProblem(
        start=start,
        inner_loss=inner_loss,
        outer_loss=outer_loss,
        rule=rule,
        steps=steps,
        batch=rows,
        batches=examples // size,
    )
    dtype = next(iter(theta_0.values())).dtype
    phi = {"weights": tf.zeros([examples], dtype), "rule": rule.learnable(theta_0)}
    return BilevelLearner(problem, estimator or checkpointed(), phi)


def f1(true: tf.Tensor, found: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return ``2 TP / (number true + number found)`` of two masks ``[N]``; 0 where both are empty."""
    both, one, other = (tf.reduce_sum(tf.cast(mask, dtype)) for mask in (true & found, true, found))
    return 2 * both / tf.maximum(one + other, 1)


def require_count_of(what: str, count: int, whole: int) -> int:
    """Return a count; raise ValueError unless it divides the whole."""
    require_count(what, count)
    if whole % count:
        raise ValueError(f"{what}={count} does not divide the {whole} examples: every batch has as many")
    return count
