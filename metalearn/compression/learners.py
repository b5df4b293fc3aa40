"""Learners of the compression of a classifier: functions of a model, its data and a few numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from metalearn import losses, rules
from metalearn.checks import require_count, require_finite, require_positive
from metalearn.compression.learned_masks import mask_problem
from metalearn.compression.masks import masks, prunable
from metalearn.compression.optimal_brain import damage, surgeon
from metalearn.compression.quantization import first_step_sizes, quantization_problem
from metalearn.compression.saliency import grasp, magnitude, snip
from metalearn.compression.soft_targets import soft_target_problem
from metalearn.compression.training import problem_of_training
from metalearn.estimators import Estimator, checkpointed
from metalearn.nest import as_type
from metalearn.nn import functional
from metalearn.problems import BilevelLearner, adapted
from metalearn.problems.bilevel import whole_support
from metalearn.types import Batch, Meta, Parameters, Rule, Task

Function = Callable[[Parameters], tf.Tensor]

SURE = 100.0
"""A score whose sigmoid is 1, and whose negative has the sigmoid 0, up to rounding in a product."""

UNDECIDED = 2.0
"""The initial score, with masks of 0.88."""

CRITERIA: dict[str, Callable[[Function, Function, Parameters], Parameters]] = {
    "uniform": lambda function, loss, theta: tf.nest.map_structure(
        lambda leaf: tf.fill(leaf.shape, as_type(UNDECIDED, leaf.dtype)), prunable(theta)
    ),
    "magnitude": lambda function, loss, theta: magnitude(theta),
    "snip": lambda function, loss, theta: snip(lambda theta: loss(function(theta)), theta),
    "grasp": grasp,
    "damage": damage,
    "surgeon": lambda function, loss, theta: surgeon(function, loss, theta).scores,
}
"""Scores of kernel entries, by name; the entries with the highest scores are kept."""


def pruning(
    model: keras.Model,
    data: Batch,
    sparsity: float,
    *,
    rule: str | Rule,
    steps: int,
    scores: str = "uniform",
    pretraining: int = 400,
    strength: float = 14.0,
    estimator: Estimator | None = None,
    seed: int = 0,
) -> BilevelLearner:
    """Return a learner of masks that prune a trained model, see :func:`mask_problem`.

    Evaluation is the retraining: it continues from the same parameters with masks of zeros and ones, which
    keep the highest scores. With ``estimators.frozen()``, the pruning criterion ``scores`` is used without
    learning: ``"magnitude"``, ``"snip"``, ``"grasp"``, ``"damage"`` or ``"surgeon"``.

    Args:
        model: a model that returns logits.
        data: inputs ``[N, ...]`` and classes ``[N]`` for the pretraining and the scores.
        sparsity: the fraction of the kernels' entries to remove, at least 0 and below 1.
        rule: the update rule of pretraining and training.
        steps: K.
        scores: the initial scores; ``"uniform"`` for equal ones.
        pretraining: the number of pretraining steps on all of the data, at least 0.
        strength: the strength of the penalty for masks above the budget.
        estimator: the estimator of the gradient; ``checkpointed()`` by default.
        seed: the seed of the initial parameters.

    Raises:
        ValueError: if a number is out of range, the scores are unknown, or the data do not fit the model.
    """
    if scores not in CRITERIA:
        raise ValueError(f"scores must be one of {', '.join(CRITERIA)}, got {scores!r}")
    build = functools.partial(
        mask_problem, model, sparsity=sparsity, rule=rule, steps=steps, strength=strength
    )
    build(functional.parameters(model))
    theta = pretrained(model, data, rule, pretraining, seed)
    inputs, targets = map(tf.convert_to_tensor, data)
    first = CRITERIA[scores](
        lambda theta: functional.apply(model, theta, inputs),
        lambda logits: losses.cross_entropy(targets, logits),
        theta,
    )

    def finish(phi: Meta) -> Meta:
        kept = masks(phi["scores"], sparsity)
        return {"scores": tf.nest.map_structure(lambda mask: SURE * (2 * mask - 1), kept)}

    return BilevelLearner(build(theta), estimator or checkpointed(), start={"scores": first}, finish=finish)


def quantization(
    model: keras.Model,
    data: Batch,
    bits: int,
    *,
    rule: str | Rule,
    steps: int,
    pretraining: int = 400,
    estimator: Estimator | None = None,
    seed: int = 0,
) -> BilevelLearner:
    """Return a learner of the step sizes of a trained model's kernels, see :func:`quantization_problem`.

    Before the first step, evaluation uses the rounded pretrained parameters, and later the trained ones.

    Args:
        model: a model that returns logits.
        data: inputs ``[N, ...]`` and classes ``[N]`` for the pretraining.
        bits: the number of bits of an entry, including the sign, at least 2.
        rule: the update rule of pretraining and training.
        steps: K.
        pretraining: the number of pretraining steps on all of the data, at least 0.
        estimator: the estimator of the gradient; ``checkpointed()`` by default.
        seed: the seed of the initial parameters.

    Raises:
        ValueError: if a number is out of range, or the data do not fit the model.
    """
    build = functools.partial(quantization_problem, model, bits=bits, rule=rule, steps=steps)
    build(functional.parameters(model))
    theta = pretrained(model, data, rule, pretraining, seed)
    start = {"log_step": tf.nest.map_structure(tf.math.log, first_step_sizes(theta, bits))}
    return BilevelLearner(build(theta), estimator or checkpointed(), start=start)


def soft_targets(
    model: keras.Model,
    teacher: keras.Model,
    data: Batch,
    *,
    rule: str | Rule,
    steps: int,
    temperature: float = 1.0,
    weight: float = 0.5,
    pretraining: int = 400,
    estimator: Estimator | None = None,
    seed: int = 0,
) -> BilevelLearner:
    """Return a learner of the temperature and weight of soft targets, see :func:`soft_target_problem`.

    Args:
        model: the student, which returns logits.
        teacher: the teacher, which is trained first.
        data: inputs ``[N, ...]`` and classes ``[N]`` on which the teacher is trained.
        rule: the update rule of both trainings.
        steps: K, the training steps of the student.
        temperature: the initial temperature, above 0.
        weight: the initial weight of the soft targets, above 0 and below 1.
        pretraining: the number of training steps of the teacher, at least 0.
        estimator: the estimator of the gradient; ``checkpointed()`` by default.
        seed: the seed of both models' initial parameters.

    Raises:
        ValueError: if a number is out of range, or the data do not fit the model.
    """
    require_positive("temperature", temperature)
    require_finite("weight", weight)
    if not 0 < weight < 1:
        raise ValueError(f"weight must be above 0 and below 1, got {weight}: its logit is learned")
    if teacher.output_shape != model.output_shape:
        raise ValueError(f"teacher returns {teacher.output_shape}, but the student {model.output_shape}")
    theta = pretrained(teacher, data, rule, pretraining, seed)
    problem = soft_target_problem(
        model,
        functional.initialize(model, seed),
        lambda inputs: functional.apply(teacher, theta, inputs),
        rule=rule,
        steps=steps,
    )
    numbers = {"log_temperature": math.log(temperature), "weight": math.log(weight / (1 - weight))}
    dtype = next(iter(theta.values())).dtype
    start = {name: tf.constant(number, dtype) for name, number in numbers.items()}
    return BilevelLearner(problem, estimator or checkpointed(), start=start)


def pretrained(model: keras.Model, data: Batch, rule: str | Rule, steps: int, seed: int) -> Parameters:
    """Return parameters after training for ``steps`` steps with the cross-entropy of all of the data.

    Raises:
        ValueError: if the data do not fit the model or are not finite, or the rule has learned
            hyperparameters.
    """
    require_count("pretraining", steps, minimum=0)
    if not np.isfinite(np.asarray(data[0])).all():
        raise ValueError("data contain NaN or infinity: remove such examples")
    theta = functional.initialize(model, seed)
    if tf.nest.flatten(rules.get(rule).learnable(theta)):
        raise ValueError(f"the rule {rule!r} has learned hyperparameters, which pretraining needs as numbers")
    examples = tuple(map(tf.convert_to_tensor, data))
    problem = problem_of_training(model, theta, rule, steps, "cross_entropy", whole_support, ())
    problem.inner_loss(theta, {}, examples, ())  # raises ValueError for classes out of range
    train = tf.function(
        lambda examples: adapted(problem, {}, Task(examples, ())), autograph=False, jit_compile=True
    )
    return train(examples) if steps else theta
