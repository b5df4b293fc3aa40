"""The data types that every module shares, and the letters that name shapes.

Shapes are written with these letters throughout the package:

=====  ==========================================================
``T``  tasks in a meta-batch
``N``  examples in a batch (``shots`` in support, ``queries`` in query)
``K``  inner steps
``P``  parameters of a model, counted as scalars
``D``  numbers that a task is made from
=====  ==========================================================

A batch of tasks is one :class:`Task` whose leaves carry a leading axis ``[T, N, ...]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import tensorflow as tf

Parameters = dict[str, tf.Tensor]
"""Model parameters: a flat dict from a variable's path inside the model to its value."""

Structure = Any
"""Nested dicts, tuples and lists with tensors at the leaves."""

Meta = dict[str, Structure]
"""The meta-parameters phi: ``{"parameters": {...}, "rule": {...}}``."""

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""``loss(targets, outputs)``: a scalar, the mean over the ``N`` examples unless its name says sum."""


Seed: TypeAlias = "tuple[int, int] | tf.Tensor"
"""Two integers, ``[2]``: all that a random draw depends on."""

TaskMapping: TypeAlias = Literal["vectorized", "sequential"]
"""How a function of one task is applied to ``T``: in one vectorised program, or one task after the other."""


class Batch(NamedTuple):
    """Examples: ``inputs [..., N, *input_shape]`` and ``targets [..., N, *target_shape]``."""

    inputs: tf.Tensor
    targets: tf.Tensor


class Task(NamedTuple):
    """What one task shows (``support``, to adapt on) and what it asks (``query``, to judge by).

    Where every inner step has a mini-batch of its own, support leaves are ``[..., K, N, ...]``.

    ``parameters [..., D]`` are the numbers that the task was made from (an amplitude, a phase), for whoever
    judges a learner; learners do not read them. Empty where there is nothing of the kind to tell.
    """

    support: Batch
    query: Batch
    parameters: tf.Tensor | tuple[()] = ()


class MetaGradient(NamedTuple):
    """What an estimator returns for a meta-batch.

    Attributes:
        loss: meta-loss of each task, ``[T]``.
        gradient: its gradient averaged over the tasks, structured as the meta-parameters.
        per_task: each task's own gradient, as the meta-parameters with a leading ``[T]``.
        adapted: theta_K of each task, ``[T, ...]``; like ``per_task``, a compiled program that does not use
            it does not keep it.
    """

    loss: tf.Tensor
    gradient: Meta
    per_task: Meta
    adapted: Parameters


class Adaptation(NamedTuple):
    """The outcome of the inner loop.

    Attributes:
        parameters: complete adapted parameters of each task, ``[T, ...]``.
        support_loss: support loss before every step and after the last, ``[T, K+1]``.
    """

    parameters: Parameters
    support_loss: tf.Tensor


class TaskDistribution(Protocol):
    """A distribution over tasks, sampled as a pure function of a seed."""

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw ``tasks`` tasks: the same seed gives the same tasks, eagerly and in a graph."""
        ...


class Rule(NamedTuple):
    """A differentiable inner update rule: optax's idea, as three pure functions.

    Attributes:
        hyperparameters: ``parameters -> structure``: initial values of the hyperparameters that are
            meta-learned; empty when none is.
        init: ``parameters -> state``.
        update: ``(gradients, state, parameters, hyperparameters, step) -> (parameters, state)``,
            where ``step`` counts from 0 and ``hyperparameters`` is structured as above.
    """

    hyperparameters: Callable[[Parameters], Structure]
    init: Callable[[Parameters], Structure]
    update: Callable[[Parameters, Structure, Parameters, Structure, tf.Tensor], tuple[Parameters, Structure]]
