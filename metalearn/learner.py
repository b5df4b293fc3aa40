"""The learner: a model, a loss, an inner rule and an estimator, composed into one bilevel problem."""

from __future__ import annotations

import dataclasses
from fnmatch import fnmatchcase

import keras
import tensorflow as tf

from metalearn import functional
from metalearn.arguments import require_count
from metalearn.bilevel import BilevelProblem, map_tasks, solve
from metalearn.estimators import mixed_mode
from metalearn.estimators.protocol import Estimator
from metalearn.types import Adaptation, Batch, Loss, Meta, MetaGradient, Parameters, Rule, Task


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
        adapted: which parameters the inner loop moves: ``"all"`` or a glob over their keys
            (``"output/*"``); the others are shared by all tasks and learned by the outer loop only.
        estimator: of the meta-gradient.

    Raises:
        ValueError: if ``adapted`` matches no parameter, or ``steps`` is negative.
    """

    model: keras.Model
    loss: Loss
    rule: Rule
    steps: int = 1
    adapted: str = "all"
    estimator: Estimator = dataclasses.field(default_factory=mixed_mode)

    def __post_init__(self) -> None:
        require_count("steps", self.steps)
        keys = functional.parameters(self.model)
        if not self._adapted(keys):
            raise ValueError(f"adapted={self.adapted!r} matches none of the parameters {list(keys)}")

    @property
    def problem(self) -> BilevelProblem:
        """The bilevel problem that this learner stands for."""

        def loss(parameters: Parameters, meta: Meta, batch: Batch) -> tf.Tensor:
            complete = {**meta["parameters"], **parameters}
            return self.loss(batch.targets, functional.apply(self.model, complete, batch.inputs))

        return BilevelProblem(
            initialize=lambda meta: self._adapted(meta["parameters"]),
            inner_loss=loss,
            outer_loss=loss,
            rule=self.rule,
            steps=self.steps,
        )

    def initialize(self, seed: int) -> Meta:
        """Draw meta-parameters ``{"parameters": {...}, "rule": {...}}``, a pure function of the seed."""
        parameters = functional.initialize(self.model, seed)
        return {
            "parameters": parameters,
            "rule": self.rule.hyperparameters(self._adapted(parameters)),
        }

    def meta_gradient(self, meta: Meta, tasks: Task) -> MetaGradient:
        """Return the meta-loss of each task and the gradient of its mean with respect to ``meta``.

        Args:
            meta: as from :meth:`initialize`.
            tasks: leaves ``[T, N, ...]``.
        """
        return self.estimator(self.problem, meta, tasks)

    def losses(self, meta: Meta, tasks: Task, adapted: Parameters) -> dict[str, tf.Tensor]:
        """Return losses ``[T]`` around adaptation: ``inner/…`` on support, ``outer/…`` on query examples.

        ``…/loss_before`` is at theta_0, ``…/loss`` at the adapted parameters ``[T, ...]``.
        """
        problem = self.problem

        def of_one_task(task: Task, adapted: Parameters) -> dict[str, tf.Tensor]:
            support, query = task
            start = problem.initialize(meta)
            return {
                "inner/loss_before": problem.inner_loss(start, meta, support),
                "inner/loss": problem.inner_loss(adapted, meta, support),
                "outer/loss_before": problem.outer_loss(start, meta, query),
                "outer/loss": problem.outer_loss(adapted, meta, query),
            }

        return map_tasks(of_one_task, tasks, adapted)

    def require_fit(self, tasks: Task) -> None:
        """Raise ValueError, naming both shapes, if the model cannot take or answer these tasks."""
        (inputs, targets), _ = tasks
        expected = tf.TensorShape(self.model.input_shape[1:])
        if not expected.is_compatible_with(inputs.shape[2:]):
            raise ValueError(
                f"the model takes inputs of shape {expected}, the tasks give {inputs.shape[2:]}: "
                "change the model's input size or the tasks"
            )
        outputs = tf.TensorShape(self.model.output_shape[1:])
        if not outputs.is_compatible_with(targets.shape[2:]):
            raise ValueError(
                f"the model gives outputs of shape {outputs}, the tasks' targets have {targets.shape[2:]}: "
                "change the model's output size or the tasks"
            )

    def adapt(self, meta: Meta, support: Batch, steps: int | None = None) -> Adaptation:
        """Fit every task's support examples by ``steps`` inner steps (those of training if not given).

        Args:
            meta: as from :meth:`initialize`.
            support: leaves ``[T, N, ...]``.
            steps: at least 0.
        """
        steps = self.steps if steps is None else steps
        require_count("steps", steps, minimum=0)
        problem = self.problem
        parameters, losses = solve(
            problem,
            meta,
            Task(support, support),
            steps,
            lambda parameters, task: problem.inner_loss(parameters, meta, task.support),
        )
        tasks = tf.shape(losses)[0]
        shared = {
            key: tf.repeat(value[None], tasks, axis=0)
            for key, value in meta["parameters"].items()
            if key not in parameters
        }
        return Adaptation({**shared, **parameters}, losses)

    def predict(self, parameters: Parameters, inputs: tf.Tensor) -> tf.Tensor:
        """Return each task's outputs ``[T, N, ...]``, given parameters ``[T, ...]`` and inputs ``[T, N, ...]``."""
        return map_tasks(lambda *a: functional.apply(self.model, *a), parameters, inputs)

    def _adapted(self, parameters: Parameters) -> Parameters:
        pattern = "*" if self.adapted == "all" else self.adapted
        return {key: value for key, value in parameters.items() if fnmatchcase(key, pattern)}
