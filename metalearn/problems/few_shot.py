"""Few-shot learning with a Keras model: a model, a loss, an inner rule and an estimator, composed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import keras
import tensorflow as tf

from metalearn import estimators, losses, metrics, rules
from metalearn.checks import require_count, require_positive
from metalearn.estimators import Estimator, checkpointed
from metalearn.execution.task_map import require_mapping
from metalearn.inner_loop import number_of_tasks
from metalearn.nn import functional
from metalearn.nn.heads import Head
from metalearn.nn.modes import Mode, mode
from metalearn.nn.stateful import seeded_layers
from metalearn.nn.vectorizable import is_sequential
from metalearn.problems import adapting, fit, learner
from metalearn.problems.bilevel import whole_support
from metalearn.problems.keras_problem import KerasProblem, with_noise
from metalearn.problems.learner import Losses, Posed
from metalearn.problems.step_weights import StepWeights
from metalearn.types import (
    Adaptation,
    Batch,
    Inner,
    Loss,
    Meta,
    MetaGradient,
    Parameters,
    Problem,
    Rule,
    Seed,
    Structure,
    Task,
    TaskMapping,
)

STATISTICS = "statistics"
"""The part of the meta-parameters with the moving statistics, which are not updated by gradients."""


@dataclasses.dataclass(frozen=True)
class MetaLearner:
    """A learner of initial parameters from which a few steps of ``rule`` solve a new task.

    All methods are pure functions, which are traced once for each combination of argument shapes: do not
    change the model's layers afterwards. They are faster within ``tf.function(jit_compile=True)``. No
    variable is ever assigned.

    Attributes:
        model: any built Keras model.
        loss: ``(targets, outputs) -> scalar``, the inner and the outer loss; or a name that
            :func:`metalearn.losses.get` knows, such as ``"mse"``. The model's own losses (regularisers,
            ``add_loss``) are added to both.
        rule: the inner update rule, or the name of one.
        steps: K, the inner steps in meta-training; 0 is ordinary training on the query examples of all tasks.
        adapted: the parameters that the inner loop updates, see :func:`metalearn.nn.adapted.select`:
            ``"all"``, ``"head"``, ``"body"``, ``"context"``, or globs over their keys. The other parameters
            are shared by all tasks and learned in the outer loop only. Context parameters start from zero in
            every task and are not meta-parameters (CAVIA, section 3.1).
        estimator: the estimator of the meta-gradient, or the name of one.
        proximal: the strength lambda of ``lambda/2 |theta - theta_0(phi)|^2``, which is added to the inner
            loss for the adapted parameters; 0 for no such term. It keeps the iterates near the initial
            parameters and makes the problem of ``implicit`` positive definite (iMAML, equation 3).
        mapping: how functions are mapped over tasks: ``"vectorized"``, ``"sequential"``, or ``"auto"``, the
            first of these that can be built, see :func:`metalearn.execution.task_map.map_tasks`.
        batch: ``(task, k) -> batch``, the data of inner step k, for example
            :class:`metalearn.problems.slices`; the whole support by default.
        head: how the last layer is fitted to a task's support examples before the first inner step, see
            :mod:`metalearn.heads`. The layer's parameters are then not meta-parameters; the learned
            parameters of the head are ``meta["head"]``.
        step_weights: ``(K, iteration) -> [K+1]``, the weights of the query losses at theta_0, ..., theta_K in
            the meta-loss (:mod:`metalearn.step_weights`); None for theta_K only.
        statistics: the statistics that normalisation layers use, see :mod:`metalearn.nn.modes`: ``"batch"``,
            ``"support"``, ``"moving"``, ``"per_step"``, ``"per_step_affine"``. Required for models with batch
            statistics.
        outer_loss: the outer loss, if it differs from ``loss``.
        metrics: functions ``(targets, outputs) -> scalar`` of the query, which are reported by their names.
        initial: ``"seed"``: initial parameters are drawn from the initializers of the model's variables;
            ``"model"``: they are the current values of the model (pretrained weights). The constructor also
            accepts this argument as ``initialize``.

    Raises:
        ValueError: if ``adapted`` matches no parameter, a number is out of range, a choice is unknown or
            missing, a variable has a constraint, the estimator rejects the meta-parameters, or it needs
            second derivatives that layers of the model get wrong. The message names the parts and the remedy.

    Reference for ``proximal``: Rajeswaran et al. (2019), "Meta-Learning with Implicit Gradients",
    equation 3.
    """

    model: keras.Model
    loss: Loss
    rule: Rule
    steps: int = 1
    adapted: str = "all"
    estimator: Estimator = dataclasses.field(default_factory=checkpointed)
    proximal: float = 0.0
    mapping: TaskMapping = "auto"
    batch: Callable[[Task, Any], Batch] = whole_support
    head: Head | None = None
    step_weights: StepWeights | None = None
    statistics: str | None = None
    outer_loss: Loss | None = None
    metrics: Sequence[Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = ()
    initial: Literal["seed", "model"] = "seed"
    if not TYPE_CHECKING:  # an argument of the constructor with the same name as a method
        initialize: dataclasses.InitVar[Any] = None

    def __post_init__(self, *initialize: Any) -> None:
        if initialize and isinstance(initialize[0], str):  # otherwise it is the method: no argument was given
            object.__setattr__(self, "initial", initialize[0])
        if self.initial not in ("seed", "model"):
            raise ValueError(f"initialize must be 'seed' or 'model', got {self.initial!r}")
        require_count("steps", self.steps, minimum=0)
        fit.require_kinds(self.model, self.adapted, self.head, self.batch)
        for name, found in (
            ("loss", losses.get(self.loss)),
            ("outer_loss", None if self.outer_loss is None else losses.get(self.outer_loss)),
            ("rule", rules.get(self.rule)),
            ("estimator", estimators.get(self.estimator)),
        ):
            object.__setattr__(self, name, found)
        fit.require_unconstrained(self.model)
        if self.head is not None:
            fit.require_head_fits(self.model, self._functions.keys, self.adapted, self.proximal, self.batch)
        if self.proximal != 0:
            require_positive("proximal (0 for none)", self.proximal)
        require_mapping(self.mapping)
        if self.mapping == "auto" and is_sequential(self.model):
            object.__setattr__(self, "mapping", "sequential")
        if self._mode.needs_support:
            fit.require_whole_support(self.statistics, self.batch)
        meta = self._meta(functional.parameters(self.model))
        problem = self._problem(meta, tf.constant(0))
        self.estimator.require(problem, self.parts(meta)[0], Task((), ()))
        if self.estimator.second_order and self.steps:
            fit.require_exact_layers(self.model)

    def initialize(self, seed: int) -> Meta:
        """Return meta-parameters ``{"parameters": {...}, "rule": {...}}``, a pure function of the seed."""
        from_model = self.initial == "model"
        initial = functional.parameters(self.model) if from_model else functional.initialize(self.model, seed)
        return self._meta(initial)

    def posed(self, meta: Meta, tasks: Task, seed: Seed) -> Posed:
        """Return the bilevel problem of this learner at ``meta``, with phi and tasks for it.

        Raises:
            ValueError: if the inputs of the support have no axis of tasks.
        """
        adapting.require_task_axis(self._functions, "support", tasks.support)
        problem = self._problem(meta, tf.convert_to_tensor(seed)[1])
        if self._seeded:
            tasks = with_noise(tasks, seed)
        return Posed(problem, self.parts(meta)[0], tasks)

    def parts(self, meta: Meta) -> tuple[Meta, Structure]:
        """Return phi and the moving statistics, which are empty if the model has none."""
        return {key: part for key, part in meta.items() if key != STATISTICS}, meta.get(STATISTICS, ())

    def whole(self, phi: Meta, state: Structure) -> Meta:
        """Return the meta-parameters that consist of phi and moving statistics."""
        return {**phi, STATISTICS: state} if tf.nest.flatten(state) else phi

    def next_state(self, meta: Meta, tasks: Task, inner: Inner) -> Structure:
        """Return the moving statistics after an iteration: the mean of those of the tasks."""
        if not self._functions.keeps_state:
            return ()
        return adapting.observed(self._functions, self.parts(meta)[0], tasks, inner, self.mapping)

    def require_fit(self, tasks: Task) -> list[str]:
        """Raise ValueError, naming both shapes, if the model's inputs or outputs do not fit these tasks.

        Shapes that Keras does not know (those of a subclassed model) are checked by tracing the losses on the
        tasks' shapes. The losses are traced with the targets of the first task, so that classes without an
        output of the model are found.
        """
        number_of_tasks(tasks)
        posed = self.posed(self._meta(functional.parameters(self.model)), tasks, (0, 0))
        return fit.require_tasks_fit(self.model, posed, self.estimator)

    def meta_gradient(self, meta: Meta, tasks: Task, seed: Seed = (0, 0)) -> MetaGradient:
        """Return the meta-loss of each task and the gradient of its mean with respect to ``meta``.

        Args:
            meta: meta-parameters, as returned by :meth:`initialize`.
            tasks: leaves ``[T, N, ...]``.
            seed: ``(seed of the run, iteration)``, used by random numbers (dropout, some estimators) and by
                annealed estimators and step weights, and ignored by others.
        """
        return learner.meta_gradient(self, meta, tasks, seed)

    def losses(self, meta: Meta, tasks: Task, inner: Inner, seed: Seed = (0, 0)) -> Losses:
        """Return losses before and after adaptation, see :func:`metalearn.problems.learner.losses`."""
        return learner.losses(self, meta, tasks, inner, seed)

    def adapt(self, meta: Meta, support: Batch, steps: int | None = None, seed: Seed = (0, 0)) -> Adaptation:
        """Adapt to the support examples of every task by ``steps`` inner steps (by default as in training).

        Args:
            meta: meta-parameters, as returned by :meth:`initialize`.
            support: leaves ``[T, N, ...]``.
            steps: at least 0.
            seed: the seed of the noise of models that have any.

        Returns:
            The complete adapted parameters, and the complete inner loss on the support.
        """
        count = self.steps if steps is None else steps
        inner, losses = learner.adaptation(self, meta, Task(support, support), count, seed)
        return adapting.completed(self._functions, self.parts(meta)[0], inner, losses, support.inputs)

    def predict(self, adapted: Adaptation | Parameters, inputs: Structure) -> tf.Tensor:
        """Return outputs ``[T, N, ...]`` for inputs ``[T, N, ...]``.

        Args:
            adapted: the result of :meth:`adapt`; its parameters ``[T, ...]`` are sufficient if the outputs
                depend on nothing else.
            inputs: the inputs of each task.

        Raises:
            ValueError: if the outputs depend on statistics of the support and only parameters are given, or
                the inputs have no axis of tasks.
        """
        return adapting.predicted(self._functions, adapted, inputs, self.mapping, self.statistics)

    def to_keras(
        self, meta: Meta, support: Batch | None = None, steps: int | None = None, seed: Seed = (0, 0)
    ) -> keras.Model:
        """Return a copy of the model with the meta-learned initial parameters, or those adapted to one task.

        Args:
            meta: meta-parameters, as returned by :meth:`initialize`.
            support: the support of one task, leaves ``[N, ...]``; None for the initial parameters, in which
                context parameters and a head with a closed form are zero.
            steps: the number of inner steps; that of training by default.
            seed: the seed of the noise of models that have any.

        Returns:
            A model that is not compiled. Its outputs equal those of :meth:`predict`, as its moving statistics
            are those that queries are normalised with; with ``statistics="batch"``, call it with
            ``training=True``.

        Raises:
            ValueError: if the support has an axis of tasks, or no copy can be made from a configuration.
        """
        fitted = None
        if support is not None:
            adapting.require_single_task(self._functions, support)
            fitted = self.adapt(meta, tf.nest.map_structure(lambda x: x[None], support), steps, seed)
        return adapting.exported(self._functions, *self.parts(meta), fitted)

    def from_keras(self, model: keras.Model) -> Meta:
        """Return meta-parameters with the initial parameters and moving statistics of a Keras model.

        Raises:
            ValueError: naming the parameters that differ, or the meta-parameters that a model does not have.
        """
        return self.whole(*adapting.imported(self._functions, model, self.rule))

    @functools.cached_property
    def _mode(self) -> Mode:
        return mode(self.statistics, self.model, self.steps)

    @functools.cached_property
    def _seeded(self) -> bool:
        return bool(seeded_layers(self.model))

    @functools.cached_property
    def _functions(self) -> KerasProblem:
        return KerasProblem(
            model=self.model,
            mode=self._mode,
            loss=self.loss,
            outer_loss=self.outer_loss or self.loss,
            metrics=metrics.named(self.metrics),
            adapted=self.adapted,
            batch=self.batch,
            proximal=self.proximal,
            head=self.head,
        )

    def _problem(self, meta: Meta, iteration: tf.Tensor) -> Problem:
        problem = self._functions.posed(self.rule, self.steps, self.mapping, self.parts(meta)[1])
        weights = self.step_weights and self.step_weights(self.steps, iteration)
        return dataclasses.replace(problem, step_weights=weights)

    def _meta(self, parameters: Parameters) -> Meta:
        """Return the meta-parameters, given the values of all parameters of the model."""
        return self.whole(self._functions.phi(parameters, self.rule), self._mode.initial(self.model))
