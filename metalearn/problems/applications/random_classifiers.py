"""Small classifiers of random width and initialisation as training tasks of a learned optimizer."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from metalearn import losses, metrics, rules
from metalearn.checks import require_count
from metalearn.estimators import Estimator, checkpointed
from metalearn.problems.applications.averaged import step_weights
from metalearn.problems.applications.classifier import require_classes
from metalearn.problems.bilevel import BilevelProblem, Noisy
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.random import normal, split_seed, uniform
from metalearn.types import Batch, Inner, Meta, Parameters, Rule, Seed, Structure, Task


def random_classifiers(
    features: int,
    classes: int,
    rule: Rule,
    steps: int = 50,
    *,
    widths: Sequence[int] = (8, 32),
    batch: int = 32,
    next_batch: bool = False,
    averaged: bool = False,
    estimator: Estimator | None = None,
) -> BilevelLearner:
    """Return a learner of an update rule from its performance in training classifiers from scratch.

    ::

        width ~ uniform on widths[0], ..., widths[1];   W_0, W_1 normal of variance 2 / D and 1 / width
        f(x)       = W_1 relu(W_0 x + b_0) + b_1,  with ``width`` hidden units;  biases start at 0
        inner loss = CE of rows k B, k B + 1, ..., k B + B - 1 of the examples, modulo their number
        outer loss = CE of all query examples; or, with ``next_batch``, of the examples of step K

    Every inner loop draws its width and initial weights anew. All arrays have the largest width; the units
    beyond a network's own width do not affect its outputs. Networks are trained on the support, or on the
    query if tasks have no support: the outer loss is then the training loss. It reports ``accuracy`` on the
    query. With ``carry="forever"`` and ``next_batch``, the rule is learned during the training of one network
    from the loss on the next mini-batch, which the network has not been trained on yet.

    Args:
        features: D, the size of inputs ``[N, D]``; targets are classes ``[N]``.
        classes: C, the number of classes.
        rule: the inner update rule, with learned hyperparameters or parameters.
        steps: K.
        widths: the smallest and the largest number of hidden units.
        batch: B, the size of a mini-batch.
        next_batch: whether the outer loss is that of the next mini-batch instead of the query.
        averaged: whether the meta-loss is the mean of the losses after steps 1 to K instead of that after K.
        estimator: the estimator of the gradient with respect to ``phi = {"rule": ...}``;
            ``checkpointed()`` by default.

    Raises:
        ValueError: if a number is out of range, or the rule learns nothing; when tasks are given, if they
            have another number of features, or a class outside 0 to C - 1.

    Reference: after Metz et al. (2020), "Tasks, stability, architecture, and compute"; online, after Baydin
    et al. (2018), "Online Learning Rate Adaptation with Hypergradient Descent", with held-out examples.
    """
    training, rule = Training(features, classes, tuple(widths), batch, next_batch), rules.get(rule)
    problem = BilevelProblem(
        start=training.start,
        inner_loss=training.inner_loss,
        outer_loss=training.outer_loss,
        rule=rule,
        steps=steps,
        batch=training.batch,
        step_weights=step_weights(steps, averaged),
    )
    phi = {"rule": rule.learnable(training.zeros())}
    return BilevelLearner(problem, estimator or checkpointed(), phi, noise=training.noise)


@dataclasses.dataclass(frozen=True)
class Training:
    """The functions of one task of :func:`random_classifiers`; the state is the width and the step."""

    features: int
    classes: int
    widths: tuple[int, ...]
    size: int
    next_batch: bool

    def __post_init__(self) -> None:
        require_count("features", self.features)
        require_count("classes", self.classes, minimum=2)
        require_count("batch", self.size)
        if len(self.widths) != 2 or self.widths[0] > self.widths[1]:
            raise ValueError(f"widths must be two integers, the smaller first, got {list(self.widths)}")
        for width in self.widths:
            require_count("each of widths", width)

    def zeros(self) -> Parameters:
        """Return parameters of the largest width."""
        shapes = {
            "hidden/bias": [self.widths[1]],
            "hidden/kernel": [self.features, self.widths[1]],
            "output/bias": [self.classes],
            "output/kernel": [self.widths[1], self.classes],
        }
        return {key: tf.zeros(shape, keras.config.floatx()) for key, shape in shapes.items()}

    def noise(self, seed: Seed, tasks: int) -> Structure:
        """Draw widths ``[T]`` and initial parameters ``[T, ...]``."""
        first, second, third = split_seed(seed, 3)
        low, high = self.widths
        width = low + tf.cast(tf.floor(uniform([tasks], first, tf.float64) * (high - low + 1)), tf.int32)
        parameters = {key: tf.zeros([tasks, *leaf.shape], leaf.dtype) for key, leaf in self.zeros().items()}
        draw = functools.partial(normal, dtype=parameters["hidden/bias"].dtype)
        hidden, output = (parameters[f"{layer}/kernel"] for layer in ("hidden", "output"))
        parameters["hidden/kernel"] = draw(hidden.shape, second, deviation=(2 / self.features) ** 0.5)
        scale = tf.math.rsqrt(tf.cast(width, output.dtype))[:, None, None]
        parameters["output/kernel"] = scale * draw(output.shape, third)
        return {"width": width, "parameters": parameters}

    def start(self, phi: Meta, task: Task) -> Inner:
        """Return the initial parameters with the width and the step as the model's state."""
        drawn = task.support.noise
        inputs, targets = self._asked(task)
        require_classes("random_classifiers", targets, self.classes)
        if inputs.shape[1:] != [self.features]:
            raise ValueError(
                f"random_classifiers: inputs have the shape {inputs.shape}, but features={self.features}: "
                f"give [N, {self.features}]"
            )
        dtype = tf.nest.flatten(phi)[0].dtype
        theta = tf.nest.map_structure(lambda leaf: tf.cast(leaf, dtype), drawn["parameters"])
        return Inner(theta, model={"width": drawn["width"], "step": tf.constant(0)})

    def batch(self, task: Task, step: int | tf.Tensor) -> Batch:
        """Return the examples of a step."""
        examples = self._trained_on(task)
        rows = (step * self.size + tf.range(self.size)) % examples.targets.shape[0]
        return tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows), examples)

    def inner_loss(
        self, theta: Parameters, phi: Meta, seen: Batch, model: Structure
    ) -> tuple[tf.Tensor, Structure]:
        """Return the cross-entropy of a mini-batch, and the state with the step increased by one."""
        loss = losses.cross_entropy(seen.targets, self._outputs(theta, seen.inputs, model))
        return loss, {**model, "step": model["step"] + 1}

    def outer_loss(self, theta: Parameters, phi: Meta, task: Task, model: Structure) -> Any:
        """Return the cross-entropy of the query or of the next mini-batch, and the query's accuracy."""
        asked = self._asked(task)
        outputs = self._outputs(theta, asked.inputs, model)
        reported = {"accuracy": metrics.accuracy(asked.targets, outputs)}
        if self.next_batch:
            asked = self.batch(task, model["step"])
            outputs = self._outputs(theta, asked.inputs, model)
        return losses.cross_entropy(asked.targets, outputs), reported

    def _outputs(self, theta: Parameters, inputs: tf.Tensor, model: Structure) -> tf.Tensor:
        hidden = tf.matmul(tf.cast(inputs, theta["hidden/bias"].dtype), theta["hidden/kernel"])
        hidden = tf.nn.relu(hidden + theta["hidden/bias"])
        present = tf.cast(tf.range(self.widths[1]) < model["width"], hidden.dtype)
        return tf.matmul(hidden * present, theta["output/kernel"]) + theta["output/bias"]

    def _asked(self, task: Task) -> Batch:
        return Batch(*task.query)

    def _trained_on(self, task: Task) -> Batch:
        examples = task.support.examples if isinstance(task.support, Noisy) else task.support
        return Batch(*examples) if tf.nest.flatten(examples) else self._asked(task)
