"""The learner: a model, a loss, an inner rule and an estimator, composed into one bilevel problem."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import keras
import tensorflow as tf

from metalearn.checks import require_count, require_positive
from metalearn.estimators.mixed_mode import mixed_mode
from metalearn.estimators.protocol import as_estimator
from metalearn.execution.task_map import map_tasks, require_mapping
from metalearn.nn import functional
from metalearn.nn.adapted import is_context, partition, select
from metalearn.nn.heads import Head, linear_head
from metalearn.nn.layers import inexact_layers
from metalearn.nn.vectorizable import mapping_for
from metalearn.problems.bilevel import BilevelProblem, inner_objective, inner_start, solve
from metalearn.problems.step_weights import StepWeights
from metalearn.types import (
    Adaptation,
    Batch,
    Loss,
    Meta,
    MetaGradient,
    Parameters,
    Rule,
    Seed,
    Task,
    TaskMapping,
)


@dataclasses.dataclass(frozen=True)
class MetaLearner:
    """Learns initial parameters from which a few steps of ``rule`` solve a new task.

    All methods are pure functions of their arguments: wrap them in ``tf.function(jit_compile=True)`` for
    speed. The model's own variables are never read for values, only for names, nor written.

    Attributes:
        model: any built Keras model.
        loss: ``(targets, outputs) -> scalar``, of the inner and the outer problem.
        rule: inner update rule.
        steps: K, inner steps while meta-training.
        adapted: which parameters the inner loop moves, see :func:`metalearn.adapted.select`: ``"all"``,
            ``"head"``, ``"body"``, ``"context"``, globs over their keys; the others are shared by all tasks
            and learned by the outer loop only. Context parameters start every task from zero, and are no
            meta-parameters (CAVIA, section 3.1).
        estimator: of the meta-gradient; any callable ``(problem, meta, tasks) -> MetaGradient``.
        proximal: strength lambda of ``lambda/2 |theta - theta_0(phi)|^2``, added to the inner loss over the
            adapted parameters; 0 adds nothing. Iterates then stay near the initial parameters, and
            ``implicit`` has a positive definite problem to solve (iMAML, equation 3).
        mapping: over tasks: ``"vectorized"``, ``"sequential"``, or ``"auto"``: what the model allows; see
            :func:`metalearn.mapping.mapping_for`.
        per_step_support: whether each inner step has a mini-batch of its own; support leaves are then
            ``[T, S, N, ...]``, see :class:`metalearn.bilevel.BilevelProblem`.
        head: how the last layer is fitted to a task's support examples in closed form before the first inner
            step, see :mod:`metalearn.heads`. Its parameters are then no meta-parameters, ``steps`` may be 0,
            and what is learned of it is ``meta["head"]``.
        step_weights: ``(K, iteration) -> [K+1]``, what the query loss at theta_0, ..., theta_K counts for
            in the meta-loss (:mod:`metalearn.step_weights`); None for theta_K alone.

    Raises:
        ValueError: if ``adapted`` matches no parameter, a number is out of range, ``mapping`` is not known,
            the estimator refuses what is to be learned, naming both and the remedy, or it takes second
            derivatives and the model has layers with wrong ones, naming them and the remedy.

    Reference for ``proximal``: Rajeswaran et al. (2019), "Meta-Learning with Implicit Gradients",
    equation 3.
    """

    model: keras.Model
    loss: Loss
    rule: Rule
    steps: int = 1
    adapted: str = "all"
    estimator: Callable[..., MetaGradient] = dataclasses.field(default_factory=mixed_mode)
    proximal: float = 0.0
    mapping: TaskMapping | Literal["auto"] = "auto"
    per_step_support: bool = False
    head: Head | None = None
    step_weights: StepWeights | None = None

    def __post_init__(self) -> None:
        require_count("steps", self.steps, minimum=0 if self.head else 1)
        if self.head is not None:
            self._require_head_fits()
        if self.proximal != 0:
            require_positive("proximal (0 for none)", self.proximal)
        if self.mapping != "auto":
            require_mapping(self.mapping)
        meta = self._meta(functional.parameters(self.model))
        estimator = as_estimator(self.estimator)
        estimator.require(self._weighted(self._problem("vectorized"), tf.constant(0)), meta)
        inexact = inexact_layers(self.model) if estimator.second_order else []
        if inexact:
            raise ValueError(
                "the estimator takes second derivatives, which TensorFlow gets wrong in "
                f"{', '.join(inexact)}: use model = metalearn.layers.exact(model), or the estimator "
                "first_order"
            )

    @property
    def problem(self) -> BilevelProblem:
        """The bilevel problem that this learner stands for."""
        return self._problem(self.mapping_chosen)

    @functools.cached_property
    def mapping_chosen(self) -> TaskMapping:
        """How tasks are mapped: ``mapping``, or for ``"auto"`` what the model allows."""
        return mapping_for(self.model) if self.mapping == "auto" else self.mapping

    @property
    def jit_compile_advised(self) -> bool:
        """Whether to compile with XLA what calls this learner.

        Not if tasks are mapped one after the other: that is for convolutions, which TensorFlow's own
        kernels do as fast, without the compile time.
        """
        return self.mapping_chosen == "vectorized"

    def _weighted(self, problem: BilevelProblem, iteration: tf.Tensor) -> BilevelProblem:
        if self.step_weights is None:
            return problem
        return dataclasses.replace(problem, step_weights=self.step_weights(self.steps, iteration))

    def _problem(self, mapping: TaskMapping) -> BilevelProblem:
        def initialize(meta: Meta) -> Parameters:
            return partition(self._complete(meta), self._keys)[0]

        def loss(parameters: Parameters, meta: Meta, batch: Batch) -> tf.Tensor:
            complete = {**self._complete(meta), **parameters}
            return self.loss(batch.targets, functional.apply(self.model, complete, batch.inputs))

        def proximal_loss(parameters: Parameters, meta: Meta, batch: Batch) -> tf.Tensor:
            start = initialize(meta)
            distances = [tf.reduce_sum(tf.square(value - start[key])) for key, value in parameters.items()]
            return loss(parameters, meta, batch) + self.proximal / 2 * tf.add_n(distances)

        return BilevelProblem(
            initialize=initialize,
            inner_loss=proximal_loss if self.proximal else loss,
            outer_loss=loss,
            rule=self.rule,
            steps=self.steps,
            per_step_support=self.per_step_support,
            mapping=mapping,
            closed_form=None if self.head is None else functools.partial(self._with_head, self.head),
        )

    def _with_head(self, head: Head, parameters: Parameters, meta: Meta, support: Batch) -> Parameters:
        complete = {**self._complete(meta), **parameters}
        features = functional.features(self.model, complete, support.inputs)
        solved = head.fit(features, support.targets, meta.get("head", {}))
        return {**parameters, **dict(zip(linear_head(self.model), solved, strict=True))}

    def _require_head_fits(self) -> None:
        missing = set(linear_head(self.model)) - set(self._keys)
        if missing:
            raise ValueError(
                f"the head solves for {', '.join(sorted(missing))} in every task, which adapted="
                f"{self.adapted!r} leaves out: use adapted='head', or 'all'"
            )
        if self.proximal or self.per_step_support:
            raise ValueError(
                "proximal and per_step_support have no meaning with a head that is solved for: it starts "
                "nowhere, and from the whole support. Leave them or the head out"
            )

    def initialize(self, seed: int) -> Meta:
        """Draw meta-parameters ``{"parameters": {...}, "rule": {...}}``, a pure function of the seed."""
        return self._meta(functional.initialize(self.model, seed))

    def meta_gradient(self, meta: Meta, tasks: Task, seed: Seed = (0, 0)) -> MetaGradient:
        """Return the meta-loss of each task and the gradient of its mean with respect to ``meta``.

        Args:
            meta: as from :meth:`initialize`.
            tasks: leaves ``[T, N, ...]``.
            seed: ``(seed of the run, iteration)``, for estimators that draw random numbers, estimators and
                step weights that are annealed. Others ignore it.
        """
        problem = self._weighted(self.problem, tf.convert_to_tensor(seed)[1])
        return as_estimator(self.estimator)(problem, meta, tasks, seed=seed)

    def losses(self, meta: Meta, tasks: Task, adapted: Parameters) -> dict[str, tf.Tensor]:
        """Return losses ``[T]`` around adaptation: ``inner/…`` on support, ``outer/…`` on query examples.

        ``…/loss_before`` is at theta_0, ``…/loss`` at the adapted parameters ``[T, ...]``. The inner loss is
        the whole one: with the proximal term, and the mean over mini-batches.
        """
        problem = self.problem

        # Each task's own copy of theta_0, as the first inner step has it: XLA then finds this loss computed.
        starts = problem.map(lambda support: inner_start(problem, meta, support)[0], tasks.support)

        def of_one_task(task: Task, copied: Parameters, adapted: Parameters) -> dict[str, tf.Tensor]:
            support, query = task.support, task.query
            start = copied if self.head else problem.initialize(meta)
            return {
                "inner/loss_before": inner_objective(problem, copied, meta, support),
                "inner/loss": inner_objective(problem, adapted, meta, support),
                "outer/loss_before": problem.outer_loss(start, meta, query),
                "outer/loss": problem.outer_loss(adapted, meta, query),
            }

        return problem.map(of_one_task, tasks, starts, adapted)

    def require_fit(self, tasks: Task) -> None:
        """Raise ValueError, naming both shapes, if the model cannot take or answer these tasks.

        What Keras does not know of a model (the shapes of a subclassed one) is not checked.
        """
        axes = 3 if self.per_step_support else 2
        for leaf, known, message in (
            (tasks.support.inputs, "input_shape", "takes inputs of shape {}, the tasks give {}"),
            (tasks.support.targets, "output_shape", "gives outputs of shape {}, the tasks' targets have {}"),
        ):
            shape, given = getattr(self.model, known, None), leaf.shape[axes:]
            if isinstance(shape, tuple) and not tf.TensorShape(shape[1:]).is_compatible_with(given):
                size = known.removesuffix("_shape")
                raise ValueError(
                    f"the model {message.format(tf.TensorShape(shape[1:]), given)}: "
                    f"change the model's {size} size or the tasks"
                )

    def adapt(self, meta: Meta, support: Batch, steps: int | None = None) -> Adaptation:
        """Fit every task's support examples by ``steps`` inner steps (those of training if not given).

        Args:
            meta: as from :meth:`initialize`.
            support: leaves ``[T, N, ...]``.
            steps: at least 0.

        Returns:
            The complete adapted parameters, and the whole inner loss on the support.
        """
        steps = self.steps if steps is None else steps
        require_count("steps", steps, minimum=0)
        problem = self.problem
        parameters, losses = solve(
            problem,
            meta,
            Task(support, support),
            steps,
            lambda parameters, task: inner_objective(problem, parameters, meta, task.support),
        )
        tasks = tf.shape(losses)[0]
        shared = {
            key: tf.repeat(value[None], tasks, axis=0)
            for key, value in self._complete(meta).items()
            if key not in parameters
        }
        return Adaptation({**shared, **parameters}, losses)

    def predict(self, parameters: Parameters, inputs: tf.Tensor) -> tf.Tensor:
        """Return outputs ``[T, N, ...]`` of each task's parameters ``[T, ...]`` on inputs ``[T, N, ...]``."""
        return map_tasks(
            lambda *a: functional.apply(self.model, *a), parameters, inputs, mapping=self.mapping_chosen
        )

    @functools.cached_property
    def _keys(self) -> list[str]:
        return select(self.adapted, functional.parameters(self.model))

    @functools.cached_property
    def _given(self) -> Parameters:
        """Parameters that every task begins with at zero: context, and a head that is solved for."""
        parameters = functional.parameters(self.model)
        solved = linear_head(self.model) if self.head else ()
        given = [key for key in parameters if is_context(key) or key in solved]
        return tf.nest.map_structure(tf.zeros_like, partition(parameters, given)[0])

    def _meta(self, parameters: Parameters) -> Meta:
        """Return the meta-parameters, given values for all of the model's parameters."""
        _, learned = partition(parameters, self._given)
        adapted, _ = partition({**parameters, **self._given}, self._keys)
        meta = {"parameters": learned, "rule": self.rule.learnable(adapted)}
        if self.head is None or not self.head.hyperparameters:
            return meta
        dtype = next(iter(parameters.values())).dtype
        of_head = tf.nest.map_structure(lambda leaf: tf.cast(leaf, dtype), self.head.hyperparameters)
        return {**meta, "head": of_head}

    def _complete(self, meta: Meta) -> Parameters:
        """Return all of the model's parameters as every task begins with them."""
        return {**self._given, **meta["parameters"]}
