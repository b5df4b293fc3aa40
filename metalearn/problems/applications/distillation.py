"""Dataset distillation: a few synthetic training examples that replace a data set."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from metalearn import losses, metrics, rules
from metalearn.estimators import Estimator, checkpointed
from metalearn.nn import functional
from metalearn.nn.fresh import fresh, require_fresh
from metalearn.problems.applications.classifier import Classifier, require_classes
from metalearn.problems.bilevel import BilevelProblem
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.types import Batch, Meta, Parameters, Rule, Structure, Task


def distillation(
    model: keras.Model, images: Batch, rule: Rule, steps: int = 20, estimator: Estimator | None = None
) -> BilevelLearner:
    """Return a learner of synthetic examples that train a model from any initialisation.

    ::

        theta_0    ~ the model's initializers, drawn anew for every task and iteration
        inner loss = 1/n sum_i CE(label_i, f_theta(image_i))
        outer loss = 1/M sum_m CE(y_m, f_theta_K(x_m))                         over query examples, real ones

    The support of tasks is not used. The outer loss reports ``accuracy``.

    Args:
        model: a built Keras model that returns logits.
        images: the initial examples, for instance one real image of each class: inputs ``[n, ...]`` and
            their classes ``[n]``, which are not learned.
        rule: the inner update rule; its learned hyperparameters are learned together with the images.
        steps: K.
        estimator: the estimator of the gradient with respect to ``phi = {"images": [n, ...]}``;
            ``checkpointed()`` by default.

    Raises:
        ValueError: if the model is not supported or the images do not fit it; when tasks are given, if there
            is a class without an output of the model.

    Reference: Wang et al. (2018), "Dataset Distillation", with random initialisations.
    """
    classifier, rule = Classifier(model), rules.get(rule)
    require_fresh(model)
    inputs, targets = np.asarray(images[0]), tf.constant(images[1], tf.int32)
    require_classes("distillation", targets, classifier.classes)
    _require_images(model, inputs, len(targets))
    like = functional.parameters(model)

    def inner_loss(theta: Parameters, phi: Meta, batch: Structure, state: Structure) -> tf.Tensor:
        outputs, added = classifier(theta, phi["images"])
        return losses.cross_entropy(targets, outputs) + added

    def outer_loss(theta: Parameters, phi: Meta, task: Task, state: Structure) -> Any:
        outputs, _ = classifier(theta, task.query.inputs)
        asked = task.query.targets
        require_classes("distillation", asked, classifier.classes)
        return losses.cross_entropy(asked, outputs), {"accuracy": metrics.accuracy(asked, outputs)}

    problem = BilevelProblem(
        start=lambda phi, task: task.support.noise,
        inner_loss=inner_loss,
        outer_loss=outer_loss,
        rule=rule,
        steps=steps,
        batch=lambda task, step: (),
    )
    dtype = next(iter(like.values())).dtype
    phi = {"images": tf.constant(inputs, dtype), "rule": rule.learnable(like)}
    return BilevelLearner(problem, estimator or checkpointed(), phi, noise=functools.partial(fresh, model))


def _require_images(model: keras.Model, inputs: np.ndarray, classes: int) -> None:
    """Raise ValueError unless images fit the model, each has a class, and all numbers are finite."""
    needed = tf.TensorShape(model.input_shape[1:])
    if not needed.is_compatible_with(inputs.shape[1:]) or len(inputs) != classes:
        raise ValueError(
            f"images have the shape {inputs.shape} and {classes} classes: the model takes [n, "
            f"{', '.join(map(str, needed))}], and each image needs one class"
        )
    if not np.isfinite(inputs).all():
        raise ValueError("images contain NaN or infinity: learning cannot start from them")
