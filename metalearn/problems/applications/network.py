"""Training of a network with hyperparameters or schedules learned from the loss on held-out examples."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from metalearn import losses, metrics, rules
from metalearn.checks import require_count
from metalearn.estimators import Estimator, checkpointed
from metalearn.nn import functional
from metalearn.nn.fresh import fresh, require_fresh
from metalearn.problems.applications.classifier import Classifier, consecutive, require_classes
from metalearn.problems.bilevel import BilevelProblem
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Batch, Meta, Parameters, Rule, Structure, Task


def network(
    model: keras.Model, rule: Rule, steps: int = 100, batch: int = 100, estimator: Estimator | None = None
) -> BilevelLearner:
    """Return a learner of a training's hyperparameters, such as a rate and a decay for each step.

    ::

        theta_0    ~ the model's initializers, drawn anew for every task and iteration
        inner loss = 1/B sum_{n in batch k} CE(y_n, f_theta(x_n))                  over support examples
        outer loss = 1/M sum_m CE(y_m, f_theta_K(x_m))                             over query examples

    phi is ``{"rule": ...}``, the hyperparameters of the rule that are :func:`metalearn.rules.learned`. The
    outer loss reports ``accuracy``.

    Args:
        model: a built Keras model that returns logits.
        rule: the inner update rule with learned hyperparameters; ``learned(..., steps=K)`` is a schedule.
        steps: K.
        batch: B; step k takes the support's rows ``k B, k B + 1, ...`` modulo their number.
        estimator: the estimator of the gradient; ``checkpointed()`` by default.

    Raises:
        ValueError: if nothing is learned, a number is out of range, or the model is not supported; when tasks
            are given, if there is a class without an output of the model.

    Reference: Maclaurin, Duvenaud and Adams (2015), "Gradient-based Hyperparameter Optimization through
    Reversible Learning", section 3.1.
    """
    classifier, rule = Classifier(model), rules.get(rule)
    require_fresh(model)
    require_count("batch", batch)
    phi = {"rule": rule.learnable(functional.parameters(model))}
    if not tf.nest.flatten(phi):
        raise ValueError(f"the rule {rule!r} learns nothing: give it a metalearn.rules.learned(...)")

    def inner_loss(theta: Parameters, phi: Meta, examples: Batch, state: Structure) -> tf.Tensor:
        outputs, added = classifier(theta, examples.inputs)
        return losses.cross_entropy(examples.targets, outputs) + added

    def outer_loss(theta: Parameters, phi: Meta, task: Task, state: Structure) -> Any:
        for examples in (task.support.examples, task.query):
            require_classes("network", examples.targets, classifier.classes)
        outputs, _ = classifier(theta, task.query.inputs)
        found = {"accuracy": metrics.accuracy(task.query.targets, outputs)}
        return losses.cross_entropy(task.query.targets, outputs), found

    problem = BilevelProblem(
        start=lambda phi, task: task.support.noise,
        inner_loss=inner_loss,
        outer_loss=outer_loss,
        rule=rule,
        steps=steps,
        batch=lambda task, step: consecutive(task.support.examples, step, batch)[0],
    )
    return BilevelLearner(problem, estimator or checkpointed(), phi, noise=functools.partial(fresh, model))
