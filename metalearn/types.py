"""The data types and protocols of the package, and the letters that denote shapes.

Shapes are written with these letters throughout the package:

=====  ==========================================================
``T``  tasks in a meta-batch
``N``  examples in a batch (``shots`` in support, ``queries`` in query)
``K``  inner steps
``P``  parameters of a model, counted as scalars
``D``  numbers that describe a task
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
"""Nested dicts, tuples and lists with tensors as leaves."""

Meta = Any
"""The meta-parameters phi: any nest of tensors. Those of a ``MetaLearner`` are
``{"parameters": {...}, "rule": {...}}``."""

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""``loss(targets, outputs)``: a scalar, the mean over the ``N`` examples unless its name contains sum."""


Seed: TypeAlias = "tuple[int, int] | tf.Tensor"
"""Two integers, ``[2]``, which determine a random draw."""

TaskMapping: TypeAlias = Literal["auto", "vectorized", "sequential"]
"""How a function of one task is applied to ``T`` tasks: in one vectorised program, or one task after the
other; ``"auto"`` is the first of the two that can be built."""


class Batch(NamedTuple):
    """Examples: ``inputs [..., N, *input_shape]`` and ``targets [..., N, *target_shape]``, or nests."""

    inputs: Structure
    targets: Structure


class Inner(NamedTuple):
    """The complete state of an inner loop.

    It is passed in :attr:`Task.start` and returned in :attr:`MetaGradient.inner`, so that an inner loop can
    be continued in the next iteration or saved in a checkpoint.

    Attributes:
        parameters: theta, a dict of tensors.
        rule: the state of the inner rule, as returned by ``rule.init``.
        model: the state of the model (moving statistics), any nest.
        step: the number of inner steps taken, an integer scalar. A start with a negative step is not used:
            the loop starts from ``problem.start``, so that one program serves both cases.
    """

    parameters: Parameters
    rule: Structure = ()
    model: Structure = ()
    step: int | tf.Tensor | tuple[()] = 0


class Task(NamedTuple):
    """One task: examples to adapt to (``support``) and examples to evaluate on (``query``).

    Attributes:
        support: a nest of tensors, for a batch of tasks with a leading ``[T]``; may be empty.
        query: a nest of tensors of the same kind.
        start: the inner loop that this task continues; empty for one that starts from ``problem.start``.
        info: numbers that describe the task (an amplitude, a phase), ``[..., D]``, for evaluations. Learners
            never read it.
    """

    support: Structure
    query: Structure
    start: Inner | tuple[()] = ()
    info: Structure = ()


class MetaGradient(NamedTuple):
    """The result of an estimator for a meta-batch.

    A compiled program computes only those fields that it uses.

    Attributes:
        loss: the meta-loss of each task, ``[T]``.
        gradient: its gradient averaged over the tasks, with the structure of the meta-parameters.
        per_task: the gradient of each task, with the structure of the meta-parameters and a leading ``[T]``.
        inner: the inner loop of each task after its last step, ``[T, ...]``.
        metrics: the metrics that the outer loss reports, by name, each ``[T]``.
        residual: the errors of the estimate's assumptions, by name, each ``[T]``: for implicit
            differentiation the stationarity of the solution and the residual of the linear solver.
    """

    loss: tf.Tensor
    gradient: Meta
    per_task: Meta
    inner: Inner
    metrics: dict[str, tf.Tensor]
    residual: dict[str, tf.Tensor]


class Adaptation(NamedTuple):
    """The result of the inner loop.

    Attributes:
        parameters: the complete adapted parameters of each task, ``[T, ...]``.
        support_loss: the support loss before every step and after the last, ``[T, K+1]``.
        model: the state of the model, ``[T, ...]``; empty if there is none.
        inputs: the inputs of the support, on which the outputs of some models depend.
    """

    parameters: Parameters
    support_loss: tf.Tensor
    model: Structure = ()
    inputs: Structure = ()


class Problem(Protocol):
    """A bilevel problem. All methods are pure functions of one task.

    ::

        theta_0, s_0, m_0  = start(phi, task)
        b_k                = batch(task, k)
        l_k, m_{k+1}       = inner_loss(theta_k, phi, b_k, m_k)
        theta_{k+1}, s_{k+1} = rule.update(grad_theta l_k, s_k, theta_k, hyperparameters(phi), k)
        L, metrics         = outer_loss(theta_K, phi, task, m_K)

    Attributes:
        rule: the inner update rule.
        steps: K, at least 0.
        mapping: how functions of one task are mapped over tasks.
        batches: the number of batches of the complete inner loss, which is the mean over ``batch(task, 0)``,
            ..., ``batch(task, batches - 1)``. Implicit differentiation and reports need it.
        solved: whether ``start`` computes parameters in closed form for every task.
        step_weights: ``[K+1]``, the weights of the outer losses at theta_0, ..., theta_K in the meta-loss;
            None for theta_K only.
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
        """Return theta_0, or an :class:`Inner` if there is an initial state of the model or of the rule."""
        ...

    def batch(self, task: Task, step: int | tf.Tensor) -> Structure:
        """Return the data of inner step ``step``, counted from 0."""
        ...

    def inner_loss(
        self, parameters: Parameters, phi: Meta, batch: Structure, model: Structure
    ) -> tf.Tensor | tuple[tf.Tensor, Structure]:
        """Return a scalar, or ``(scalar, next state of the model)``."""
        ...

    def outer_loss(
        self, parameters: Parameters, phi: Meta, task: Task, model: Structure
    ) -> tf.Tensor | tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Return a scalar, or ``(scalar, {name: scalar to report})``."""
        ...

    def hyperparameters(self, phi: Meta) -> Structure:
        """Return the ``values`` for ``rule.update``."""
        ...


class Rule(Protocol):
    """A differentiable inner update rule: pure functions, so that gradients flow through them.

    Any object with ``learnable``, ``init`` and ``update`` is a rule. ``settings`` and ``descent_rates`` are
    optional information for diagnostics; subclasses inherit defaults.
    :func:`metalearn.testing.check_rule` checks user-defined rules.
    """

    @abc.abstractmethod
    def learnable(self, parameters: Parameters) -> Structure:
        """Return the initial values of the learned hyperparameters; an empty structure if there are none.

        It is a dict if the rule is to be wrapped by another rule with learned hyperparameters. Its keys must
        not depend on ``parameters``, which may be ``{}``: wrappers obtain the names in this way.
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
            gradients: the gradients of the inner loss, with the structure of ``parameters``.
            state: the state from :meth:`init` or the previous update.
            parameters: theta_k of one task.
            values: the learned hyperparameters, with the structure that :meth:`learnable` returns.
            step: k, from 0, a Python integer or a scalar tensor.
        """
        ...

    def settings(self) -> Mapping[str, Any]:
        """Return all hyperparameters, learned or not, by the names that :meth:`learnable` uses.

        Each is a :data:`metalearn.rules.hyperparameters.Hyperparameter`.
        """
        return {}

    def descent_rates(
        self, parameters: Parameters, values: Structure, step: int | tf.Tensor
    ) -> Parameters | None:
        """Return the rates r if the update is exactly ``theta - r * gradient``, else None.

        The keys are those of ``parameters``; each value is a number or a tensor that broadcasts to the
        parameter. If all parameters have one rate, every value is the same number or the same tensor object.
        """
        return None
