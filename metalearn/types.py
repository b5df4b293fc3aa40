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

import abc
from collections.abc import Callable, Mapping
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


class Rule(Protocol):
    """A differentiable inner update rule: pure functions, so that gradients flow through them.

    Three methods make a rule: whatever has ``learnable``, ``init`` and ``update`` is one, a subclass or not.
    ``settings`` and ``descent_rates`` say more about it, for diagnoses; a subclass inherits answers that
    say nothing. :func:`metalearn.testing.check_rule` checks a rule of one's own.
    """

    @abc.abstractmethod
    def learnable(self, parameters: Parameters) -> Structure:
        """Return the initial values of what is meta-learned; an empty structure where nothing is.

        A dict, if the rule is to be wrapped by one that learns something too. It has the same keys for
        every ``parameters``, ``{}`` included: wrappers ask for the names in that way.
        """
        ...

    @abc.abstractmethod
    def init(self, parameters: Parameters) -> Structure:
        """Return the state s_0 for the parameters of one task."""
        ...

    @abc.abstractmethod
    def update(
        self,
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        values: Structure,
        step: int | tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        """Return the parameters and the state after inner step ``step``.

        Args:
            gradients: of the inner loss at ``parameters``, structured as these.
            state: as :meth:`init` or the update before returned it.
            parameters: theta_k of one task.
            values: what is meta-learned, structured as :meth:`learnable` returns it.
            step: k from 0, a Python integer or a scalar tensor.
        """
        ...

    def settings(self) -> Mapping[str, Any]:
        """Return the hyperparameters, learned or not, under the names that :meth:`learnable` uses.

        Each is a :data:`metalearn.rules.hyperparameters.Hyperparameter`.
        """
        return {}

    def descent_rates(
        self, parameters: Parameters, values: Structure, step: int | tf.Tensor
    ) -> Parameters | None:
        """Return the rates r if the update is ``theta - r * gradient`` and nothing else; None if not.

        By the keys of ``parameters``, each a number or a tensor that broadcasts to the parameter. Where one
        rate holds for all, it is the same number or the very same tensor under every key.
        """
        return None
