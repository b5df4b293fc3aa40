"""Checks that the parts of a learner of a Keras model fit each other and its tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import keras
import tensorflow as tf

from metalearn.estimators import Estimator
from metalearn.nn.heads import linear_head
from metalearn.nn.layers import inexact_layers
from metalearn.nn.names import named_variables
from metalearn.problems.batches import slices
from metalearn.problems.bilevel import whole_support
from metalearn.problems.learner import Posed, require_traceable
from metalearn.types import Batch


def require_kinds(model: object, adapted: object, head: object, batch: object) -> None:
    """Raise ValueError, with an example, for an argument of a learner that is an object of another kind."""
    for name, given, suitable, expected in (
        ("model", model, isinstance(model, keras.Model), "a Keras model, such as metalearn.models.mlp()"),
        ("adapted", adapted, isinstance(adapted, str), "a pattern, such as 'head' or 'hidden_0/*|output/*'"),
        ("head", head, head is None or hasattr(head, "fit"), "a head, such as metalearn.heads.ridge()"),
        ("batch", batch, callable(batch), "a function, such as metalearn.problems.slices(5)"),
    ):
        if not suitable or isinstance(given, type):
            raise ValueError(f"{name} must be {expected}, got {given!r}")


def require_head_fits(
    model: keras.Model, keys: Collection[str], adapted: str, proximal: float, batch: Callable[..., Any]
) -> None:
    """Raise ValueError unless a head with a closed form fits the other settings.

    Args:
        model: the Keras model whose last layer the head is.
        keys: the names of the parameters that the inner loop updates.
        adapted: the setting that selected them.
        proximal: the strength of the proximal term.
        batch: the function that returns the data of an inner step.
    """
    missing = set(linear_head(model)) - set(keys)
    if missing:
        raise ValueError(
            f"the head solves for {', '.join(sorted(missing))} in every task, which adapted="
            f"{adapted!r} excludes: use adapted='head', or 'all'"
        )
    if proximal or batch is not whole_support:
        raise ValueError(
            "proximal and batch have no meaning with a head in closed form, which has no initial "
            "parameters and uses the whole support: omit them or the head"
        )


def require_whole_support(statistics: str | None, batch: Callable[..., Any]) -> None:
    """Raise ValueError if mini-batches divide the support whose statistics a model normalises with."""
    if isinstance(batch, slices):
        raise ValueError(
            f"statistics={statistics!r} needs the whole support, but batch={batch!r} divides "
            "it: use statistics='batch' or 'moving'"
        )


def require_unconstrained(model: keras.Model) -> None:
    """Raise ValueError naming the trainable variables with constraints, which no update would enforce."""
    constrained = [
        named.key
        for named in named_variables(model)
        if named.variable.trainable and getattr(named.variable, "constraint", None) is not None
    ]
    if constrained:
        raise ValueError(
            f"{', '.join(constrained)} of model {model.name!r} have constraints, which neither inner steps "
            "nor the outer optimizer enforce: omit them (MetaTrainer has a projection of the meta-parameters "
            "after each update)"
        )


def require_exact_layers(model: keras.Model) -> None:
    """Raise ValueError naming the layers whose second derivatives TensorFlow gets wrong."""
    inexact = inexact_layers(model)
    if inexact:
        raise ValueError(
            "the estimator takes second derivatives, which TensorFlow gets wrong in "
            f"{', '.join(inexact)}: use model = metalearn.layers.exact(model), or the estimator "
            "first_order"
        )


def require_tasks_fit(model: keras.Model, posed: Posed, estimator: Estimator) -> list[str]:
    """Return the names of the metrics that the outer loss reports for the tasks of a posed problem.

    Args:
        model: the Keras model.
        posed: the problem with its tasks.
        estimator: the estimator of the learner.

    Raises:
        ValueError: naming both shapes, if the model's inputs or outputs do not fit these tasks.
    """
    one = tf.nest.map_structure(lambda leaf: leaf[0], posed.tasks)
    support: Batch = posed.problem.batch(one, 0).examples
    for batch in (support, one.query):
        _require_inputs_fit(model, batch)
    try:
        return require_traceable(posed, estimator)
    except ValueError as error:
        shape = getattr(model, "output_shape", None)
        targets = one.query.targets
        if isinstance(shape, tuple) and tf.is_tensor(targets) and "targets have" in str(error):
            raise ValueError(
                f"the model has outputs of shape {tf.TensorShape(shape[1:])}, the tasks' targets have "
                f"{targets.shape[1:]}: change the model's output size, the tasks or the loss ({error})"
            ) from error
        raise


def _require_inputs_fit(model: keras.Model, batch: Batch) -> None:
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or not tf.is_tensor(batch.inputs):
        return
    known, given = tf.TensorShape(shape[1:]), batch.inputs.shape[1:]
    if not known.is_compatible_with(given):
        raise ValueError(
            f"the model takes inputs of shape {known}, the tasks have {given}: change the model's input "
            "size or the tasks"
        )
