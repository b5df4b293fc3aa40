"""The data types that every module shares, and the letters that name shapes.

Shapes are written with these letters throughout the package:

=====  ==========================================================
``T``  tasks in a meta-batch
``N``  examples in a batch (``shots`` in support, ``queries`` in query)
``K``  inner steps
``P``  parameters of a model, counted as scalars
``D``  numbers that a task is made from
=====  ==========================================================

A batch of tasks is one :class:`Task` whose leaves carry a leading axis ``[T, ...]``.
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

Meta = Any
"""The meta-parameters phi: any nest of tensors. Those of a ``MetaLearner`` are
``{"parameters": {...}, "rule": {...}}``."""

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""``loss(targets, outputs)``: a scalar, the mean over the ``N`` examples unless its name says sum."""


Seed: TypeAlias = "tuple[int, int] | tf.Tensor"
"""Two integers, ``[2]``: all that a random draw depends on."""

TaskMapping: TypeAlias = Literal["auto", "vectorized", "sequential"]
"""How a function of one task is applied to ``T``: in one vectorised program, or one task after the other;
``"auto"`` is the first of the two that can be built."""


class Batch(NamedTuple):
    """Examples: ``inputs [..., N, *input_shape]`` and ``targets [..., N, *target_shape]``, or nests."""

    inputs: Structure
    targets: Structure


class Inner(NamedTuple):
    """All that an inner loop carries from step to step.

    It goes in by :attr:`Task.start` and comes back in :attr:`MetaGradient.inner`, so that an inner loop may
    be continued in the next iteration, or kept in a checkpoint.

    Attributes:
        parameters: theta, a dict of tensors.
        rule: state of the inner rule, as ``rule.init`` makes it.
        model: state of the model (moving statistics), any nest.
        step: number of inner steps that have been taken, an integer scalar. A start with a negative step is
            not used: the loop starts anew from ``problem.start``. So one program serves both cases.
    """

    parameters: Parameters
    rule: Structure = ()
    model: Structure = ()
    step: int | tf.Tensor | tuple[()] = 0


class Task(NamedTuple):
    """What one task shows (``support``, to adapt on) and what it asks (``query``, to judge by).

    Attributes:
        support: nest of tensors, for a batch of tasks with a leading ``[T]``; may be empty.
        query: likewise.
        start: the inner loop that this task continues; empty for one that begins with ``problem.start``.
        info: what the task was made from (an amplitude, a phase), ``[..., D]``, for whoever judges a learner.
            Learners never read it.
    """

    support: Structure
    query: Structure
    start: Inner | tuple[()] = ()
    info: Structure = ()


class MetaGradient(NamedTuple):
    """What an estimator returns for a meta-batch.

    A compiled program computes only those fields that it uses.

    Attributes:
        loss: meta-loss of each task, ``[T]``.
        gradient: its gradient averaged over the tasks, structured as the meta-parameters.
        per_task: each task's own gradient, as the meta-parameters with a leading ``[T]``.
        inner: the inner loop of each task after its last step, ``[T, ...]``.
        metrics: what the outer loss reports beside its value, by name, each ``[T]``.
        residual: how far the estimate's assumptions are from holding, by name, each ``[T]``: for implicit
            differentiation the stationarity of the solution and the residual of the linear solver.
    """

    loss: tf.Tensor
    gradient: Meta
    per_task: Meta
    inner: Inner
    metrics: dict[str, tf.Tensor]
    residual: dict[str, tf.Tensor]


class Adaptation(NamedTuple):
    """The outcome of the inner loop.

    Attributes:
        parameters: complete adapted parameters of each task, ``[T, ...]``.
        support_loss: support loss before every step and after the last, ``[T, K+1]``.
        model: state of the model, ``[T, ...]``, empty if there is none.
        inputs: those of the support, which outputs of some models depend on.
    """

    parameters: Parameters
    support_loss: tf.Tensor
    model: Structure = ()
    inputs: Structure = ()


class Problem(Protocol):
    """A bilevel problem: what is learned by what. All methods are pure functions of one task.

    ::

        theta_0, s_0, m_0  = start(phi, task)
        b_k                = batch(task, k)
        l_k, m_{k+1}       = inner_loss(theta_k, phi, b_k, m_k)
        theta_{k+1}, s_{k+1} = rule.update(grad_theta l_k, s_k, theta_k, hyperparameters(phi), k)
        L, metrics         = outer_loss(theta_K, phi, task, m_K)

    Attributes:
        rule: the inner update.
        steps: K, at least 0.
        mapping: how functions of one task are mapped over tasks.
        batches: how many batches make up the whole inner loss, their mean over ``batch(task, 0)``, ...,
            ``batch(task, batches - 1)``. Implicit differentiation and reports need it.
        solved: whether ``start`` solves for parameters in closed form, anew in every task.
        step_weights: ``[K+1]``, weights of the outer losses at theta_0, ..., theta_K in the meta-loss; None
            for theta_K alone.
    """

    @property
    def rule(self) -> Rule: ...

    @property
    def steps(self) -> int: ...

    @property
    def mapping(self) -> TaskMapping: ...

    @property
    def batches(self) -> int: ...

    @property
    def solved(self) -> bool: ...

    @property
    def step_weights(self) -> tf.Tensor | None: ...

    def start(self, phi: Meta, task: Task) -> Inner | Parameters:
        """Return theta_0; in an :class:`Inner` where there is a state of the model or of the rule, too."""
        ...

    def batch(self, task: Task, step: int | tf.Tensor) -> Structure:
        """Return what inner step ``step`` (counted from 0) sees of a task."""
        ...

    def inner_loss(
        self, parameters: Parameters, phi: Meta, batch: Structure, model: Structure
    ) -> tf.Tensor | tuple[tf.Tensor, Structure]:
        """Return a scalar, and the next state of the model if there is one."""
        ...

    def outer_loss(
        self, parameters: Parameters, phi: Meta, task: Task, model: Structure
    ) -> tf.Tensor | tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Return a scalar, and named scalars to report if there are any."""
        ...

    def hyperparameters(self, phi: Meta) -> Structure:
        """Return what ``rule.update`` takes as its values."""
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
