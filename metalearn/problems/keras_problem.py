"""The bilevel problem of a Keras model: adapted and shared parameters, and the losses of one task."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from metalearn.inner_loop import number_of_tasks
from metalearn.losses import require_classification
from metalearn.nn import functional
from metalearn.nn.adapted import is_context, partition, select_from
from metalearn.nn.heads import Head, linear_head
from metalearn.nn.modes import Mode, needs_exact
from metalearn.nn.tracing import input_spec
from metalearn.problems.bilevel import BilevelProblem
from metalearn.random import by_task, fold_in, seeds
from metalearn.types import Batch, Inner, Loss, Meta, Parameters, Rule, Seed, Structure, Task, TaskMapping

NOISE_STREAM = 0x6E6F6973
"""Folded into the seed of a call, so that noise is independent of tasks drawn with the same seed."""


class Noisy(NamedTuple):
    """A task's support with the seed ``[2]`` of the noise in its inner steps."""

    examples: Batch
    seed: tf.Tensor


class ModelState(NamedTuple):
    """The state of a model with moving statistics in the inner loop.

    Attributes:
        statistics: the moving statistics, in the form of the mode.
        step: the number of inner steps taken, int32 ``[]``, which the outputs for queries may depend on.
    """

    statistics: Structure
    step: tf.Tensor


class Seen(NamedTuple):
    """The data of an inner step: examples, its number, and the seed of its noise or None."""

    examples: Batch
    step: int | tf.Tensor
    seed: tf.Tensor | None


@dataclasses.dataclass(frozen=True)
class KerasProblem:
    """The functions of one task; attributes are those of :class:`metalearn.MetaLearner`."""

    model: keras.Model
    mode: Mode
    loss: Loss
    outer_loss: Loss
    metrics: dict[str, Loss]
    adapted: str
    batch: Callable[[Task, Any], Batch]
    proximal: float
    head: Head | None

    @functools.cached_property
    def keys(self) -> list[str]:
        """The names of the parameters that the inner loop updates."""
        chosen = select_from(self.model, self.adapted)
        moved = [key for key in chosen if key not in self.mode.affine]
        if not moved:
            raise ValueError(
                f"adapted={self.adapted!r} selects only {chosen}, scales and shifts of the steps, which the "
                "outer loop learns: select more, or use statistics='per_step'"
            )
        return moved

    @functools.cached_property
    def _body(self) -> keras.Model:
        return functional.body(self.model)

    @functools.cached_property
    def input_spec(self) -> Structure:
        """The shapes and types of the model's inputs; empty if they are unknown."""
        spec = input_spec(self.model)
        return () if spec is None else spec

    @functools.cached_property
    def keeps_state(self) -> bool:
        """Whether the model carries moving statistics through the inner loop."""
        return bool(tf.nest.flatten(self.mode.initial(self.model)))

    @functools.cached_property
    def given(self) -> Parameters:
        """The parameters that start from zero in every task: context, and a head with a closed form."""
        parameters = functional.parameters(self.model)
        solved = linear_head(self.model) if self.head else ()
        given = [key for key in parameters if is_context(key) or key in solved]
        return tf.nest.map_structure(tf.zeros_like, partition(parameters, given)[0])

    def complete(self, phi: Meta) -> Parameters:
        """Return all parameters of the model at the start of every task."""
        return {**self.given, **phi["parameters"]}

    def phi(self, parameters: Parameters, rule: Rule) -> Meta:
        """Return phi, given the values of all parameters of the model and the inner rule."""
        _, learned = partition(parameters, self.given)
        adapted, _ = partition({**parameters, **self.given}, self.keys)
        phi = {"parameters": self.mode.spread(learned), "rule": rule.learnable(adapted)}
        if self.head is not None and self.head.hyperparameters:
            dtype = next(iter(parameters.values())).dtype
            phi["head"] = tf.nest.map_structure(lambda leaf: tf.cast(leaf, dtype), self.head.hyperparameters)
        return phi

    def answer(
        self, complete: Parameters, model: Structure, support_inputs: Structure, inputs: Structure
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return the outputs for a task's queries, and the model's own losses."""
        state, step = model if self.keeps_state else ((), 0)
        network, parameters = self._network(self.mode.at(complete, step))
        outputs, added = self.mode.outer(network, parameters, state, support_inputs, inputs, step)
        return self._attended(outputs, complete), added

    def observed(self, phi: Meta, task: Task, inner: Inner) -> Structure:
        """Return the moving statistics of one task after its inner loop, for later tasks."""
        complete = {**self.complete(phi), **inner.parameters}
        state, step = inner.model
        support = _examples(task).inputs if self.mode.needs_support else ()
        return self.mode.observe(*self._network(self.mode.at(complete, step)), state, support, step)

    def posed(self, rule: Rule, steps: int, mapping: TaskMapping, statistics: Structure) -> BilevelProblem:
        """Return the bilevel problem, given the moving statistics at the start of inner loops."""

        def start(phi: Meta, task: Task) -> Inner | Parameters:
            parameters, state = self._origin(phi), statistics
            if self.head is not None:
                solved, state = self._solved(self.head, phi, task, statistics)
                parameters |= solved
            if not self.keeps_state:
                return parameters
            return Inner(parameters, model=ModelState(state, tf.constant(0)))

        return BilevelProblem(
            start=start,
            inner_loss=self._inner_loss,
            outer_loss=self._outer_loss,
            rule=rule,
            steps=steps,
            batch=self._seen,
            batches=getattr(self.batch, "count", 1),
            mapping=mapping,
            solved=self.head is not None,
        )

    def _origin(self, phi: Meta) -> Parameters:
        return partition(self.complete(phi), self.keys)[0]

    def _solved(
        self, head: Head, phi: Meta, task: Task, statistics: Structure
    ) -> tuple[Parameters, Structure]:
        """Return the kernel and bias of a head with a closed form, and the moving statistics after that.

        Features are normalised with the statistics of the support, as in an inner step.
        """
        complete, examples = self.mode.at(self.complete(phi), 0), _examples(task)
        before = self.mode.query_statistics(self.model, complete, statistics, (), 0)
        features, after = functional.features(
            self.model,
            complete,
            examples.inputs,
            state={**functional.state(self.model), **before},
            training=needs_exact(self.mode),
        )
        kernel, bias = linear_head(self.model)
        targets = _one_hot(head, examples.targets, complete[kernel].shape[-1], features)
        solved = head.fit(features, targets, phi.get("head", {}))
        return dict(zip((kernel, bias), solved, strict=True)), self.mode.solved(statistics, after)

    def _network(self, complete: Parameters) -> tuple[keras.Model, Parameters]:
        """Return the network of the outputs, or of the features of a non-parametric head, with parameters."""
        if self.head is None or not self.head.attends:
            return self.model, complete
        return self._body, {key: complete[key] for key in functional.parameters(self._body)}

    def _attended(self, outputs: Structure, complete: Parameters) -> Structure:
        """Return the outputs of the head, given those of the network."""
        if self.head is None or not self.head.attends:
            return outputs
        kernel, bias = linear_head(self.model)
        return self.head.answer(outputs, (complete[kernel], complete[bias]))

    def _seen(self, task: Task, step: int | tf.Tensor) -> Seen:
        if not isinstance(task.support, Noisy):
            return Seen(self.batch(task, step), step, None)
        seed = fold_in(task.support.seed, step)
        return Seen(self.batch(task._replace(support=task.support.examples), step), step, seed)

    def _inner_loss(
        self, parameters: Parameters, phi: Meta, seen: Seen, model: Structure
    ) -> tuple[tf.Tensor, Structure]:
        complete = {**self.complete(phi), **parameters}
        inputs, targets = seen.examples
        # Not the number of the batch: the complete inner loss at theta_k is that of all batches.
        state, step = model if self.keeps_state else ((), seen.step)
        network, given = self._network(self.mode.at(complete, step))
        outputs, added, state = self.mode.inner(network, given, state, inputs, step, seen.seed)
        outputs = self._attended(outputs, complete)
        if self.keeps_state:
            model = ModelState(state, model.step + 1)
        loss = _with(added, self.loss(targets, outputs))
        if not self.proximal:
            return loss, model
        origin = self._origin(phi)
        distances = [tf.reduce_sum(tf.square(value - origin[key])) for key, value in parameters.items()]
        return loss + self.proximal / 2 * tf.add_n(distances), model

    def _outer_loss(
        self, parameters: Parameters, phi: Meta, task: Task, model: Structure
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        complete = {**self.complete(phi), **parameters}
        support = _examples(task).inputs if self.mode.needs_support else ()
        inputs, targets = task.query
        outputs, added = self.answer(complete, model, support, inputs)
        metrics = {name: metric(targets, outputs) for name, metric in self.metrics.items()}
        return _with(added, self.outer_loss(targets, outputs)), metrics


def with_noise(tasks: Task, seed: Seed) -> Task:
    """Return tasks with a seed of noise in each support, from the call's seed and the task's index."""
    # Independent of the seeds of the tasks, and one operation, because an evaluation has many tasks.
    stream = fold_in(seed, NOISE_STREAM)
    own = by_task(lambda count: seeds(stream, count), number_of_tasks(tasks))
    return tasks._replace(support=Noisy(tasks.support, own))


def _examples(task: Task) -> Batch:
    return task.support.examples if isinstance(task.support, Noisy) else task.support


def _one_hot(head: Head, targets: tf.Tensor, outputs: int, features: tf.Tensor) -> tf.Tensor:
    """Return the targets of a head's fit, ``[N, O]`` in the type of the features.

    Raises:
        ValueError: if they are not classes although the head or their type requires classes.
    """
    if head.classes or targets.dtype.is_integer:
        answers = tf.zeros([features.shape[0], outputs], features.dtype)
        targets, _ = require_classification(f"the head {head!r}", targets, answers)
        if targets.dtype.is_integer:
            return tf.one_hot(targets, outputs, dtype=features.dtype)
    return tf.cast(targets, features.dtype)


def _with(added: tf.Tensor | None, loss: tf.Tensor) -> tf.Tensor:
    """Return the sum of the loss and the model's own losses (regularisers), if there are any."""
    return loss if added is None else loss + tf.cast(added, loss.dtype)
