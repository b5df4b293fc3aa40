"""Data hyper-cleaning: a weight for each training example, learned from the loss on clean examples."""

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

WRONG = "wrong"
"""The key of ``Task.info`` for the mask ``[N]`` of examples with a wrong label; only the metric uses it."""


def cleaning(
    model: keras.Model,
    examples: int,
    rule: Rule,
    steps: int = 100,
    batch: int | None = None,
    estimator: Estimator | None = None,
    seed: int = 0,
) -> BilevelLearner:
    """Return a learner of the weights of training examples, some of which have wrong labels.

    ::

        inner loss = 1/B sum_{n in batch k} 2 sigmoid(weights_n) CE(y_n, f_theta(x_n))
        outer loss = 1/M sum_m CE(y_m, f_theta_K(x_m))                         over query examples, all clean

    With ``weights = 0`` every example has weight 1, as in ordinary training. The outer loss reports
    ``accuracy`` and, for tasks whose ``info`` has the mask ``"wrong"``, ``f1``: the F1 score of predicting
    that the examples with a weight below 1 are those with a wrong label.

    Args:
        model: a built Keras model that returns logits.
        examples: N, the number of support examples ``(inputs [N, ...], classes [N])``.
        rule: the inner update rule.
        steps: K.
        batch: B, the number of examples of an inner step, a divisor of N: step k takes rows ``k B, k B + 1,
            ...`` modulo N, and k continues if the inner loop is carried. All examples by default.
        estimator: the estimator of the gradient with respect to ``phi = {"weights": [N]}``;
            ``checkpointed()`` by default.
        seed: the seed of the model's initial parameters, which are the same for every inner loop.

    Raises:
        ValueError: if a number is out of range or the model is not supported; when tasks are given, if they
            do not have N examples, or have a class without an output of the model.

    Reference: Franceschi et al. (2017), "Forward and Reverse Gradient-Based Hyperparameter Optimization",
    section 5.1.
    """
    theta_0, rule = functional.initialize(model, seed), rules.get(rule)
    weighted = Weighted(Classifier(model), theta_0, examples, examples if batch is None else batch)
    problem = BilevelProblem(
        start=weighted.start,
        inner_loss=weighted.inner_loss,
        outer_loss=weighted.outer_loss,
        rule=rule,
        steps=steps,
        batch=weighted.batch,
        batches=examples // weighted.size,
    )
    dtype = next(iter(theta_0.values())).dtype
    phi = {"weights": tf.zeros([examples], dtype), "rule": rule.learnable(theta_0)}
    return BilevelLearner(problem, estimator or checkpointed(), phi)


@dataclasses.dataclass(frozen=True)
class Weighted:
    """The functions of one task; see :func:`cleaning`."""

    classifier: Classifier
    theta_0: Parameters
    examples: int
    size: int

    def __post_init__(self) -> None:
        require_count("examples", self.examples)
        require_count("batch", self.size)
        if self.examples % self.size:
            raise ValueError(
                f"batch={self.size} does not divide the {self.examples} examples: choose a divisor"
            )

    def start(self, phi: Meta, task: Task) -> Parameters:
        """Return the initial parameters."""
        targets = task.support.targets
        require_classes("cleaning", targets, self.classifier.classes)
        if targets.shape[0] != self.examples:
            raise ValueError(
                f"cleaning: the support has {targets.shape[0]} examples, but there are weights for "
                f"examples={self.examples}: make the two numbers equal"
            )
        return tf.nest.map_structure(lambda leaf: tf.cast(leaf, phi["weights"].dtype), self.theta_0)

    def batch(self, task: Task, step: int | tf.Tensor) -> tuple[Batch, tf.Tensor]:
        """Return the examples of a step and their rows."""
        return consecutive(task.support, step, self.size)

    def inner_loss(
        self, theta: Parameters, phi: Meta, seen: tuple[Batch, tf.Tensor], state: Structure
    ) -> tf.Tensor:
        """Return the weighted cross-entropy plus the model's own losses."""
        (inputs, targets), rows = seen
        outputs, added = self.classifier(theta, inputs)
        weights = 2 * tf.sigmoid(tf.gather(phi["weights"], rows))
        soft = weights[:, None] * tf.one_hot(targets, self.classifier.classes, dtype=outputs.dtype)
        return losses.cross_entropy(soft, outputs) + added

    def outer_loss(self, theta: Parameters, phi: Meta, task: Task, state: Structure) -> Any:
        """Return the cross-entropy of the query, the accuracy, and F1 if the wrong labels are known."""
        outputs, _ = self.classifier(theta, task.query.inputs)
        found = {"accuracy": metrics.accuracy(task.query.targets, outputs)}
        if isinstance(task.info, Mapping) and WRONG in task.info:
            found["f1"] = f1(task.info[WRONG], phi["weights"] < 0, outputs.dtype)
        return losses.cross_entropy(task.query.targets, outputs), found


def f1(true: tf.Tensor, found: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return ``2 TP / (number true + number found)`` for two masks ``[N]``; 0 if both are empty."""
    both, one, other = (tf.reduce_sum(tf.cast(mask, dtype)) for mask in (true & found, true, found))
    return 2 * both / tf.maximum(one + other, 1)
