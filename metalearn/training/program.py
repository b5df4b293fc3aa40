"""The program of a training: a loop of iterations in the graph that stops at non-finite values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from metalearn.problems.learner import Learner, estimate, losses
from metalearn.training.arguments import Arguments
from metalearn.training.carrying import Carried, Carry, continued
from metalearn.training.combine import Clip, combined
from metalearn.training.optimizers import Optimizers
from metalearn.types import Inner, Meta, MetaGradient, Structure, Task

AROUND = ("inner/loss_before", "inner/loss", "outer/loss_before")
"""Losses that the meta-gradient does not need and that take additional passes."""

JUDGED = "outer/loss"
"""The loss whose gradient is the meta-gradient."""

LOSSES = (*AROUND, JUDGED)


class Found(NamedTuple):
    """The results for the tasks of an iteration, before the update of phi.

    Attributes:
        gradient: the meta-gradient, the mean over the tasks of their clipped meta-gradients.
        means: the means over the tasks of the values that metrics are computed from.
        statistics: the part of the meta-parameters that is updated without gradients, after the iteration.
        inner: the carried inner loops ``[T, ...]``, or empty.
        estimator: the estimator's carry.
    """

    gradient: Meta
    means: dict[str, tf.Tensor]
    statistics: Structure
    inner: Inner | tuple[()]
    estimator: Structure


class Tried(NamedTuple):
    """The state of the loop over iterations: the last attempted iteration, and the state before it.

    Attributes:
        rows: the metrics, a tensor array with one entry for each iteration.
        finite: whether the last iteration was finite.
        before: the values of all variables before it.
        gradient: its meta-gradient.
        carried: the carried state before and after it.
    """

    rows: tf.TensorArray
    finite: tf.Tensor
    before: list[tf.Tensor]
    gradient: Meta
    carried: tuple[Carried, Carried]


class Outcome(NamedTuple):
    """The result of a call of the program.

    Attributes:
        rows: the metrics, ``[length, metrics]``, filled for the attempted iterations.
        kept: the number of iterations whose updates were made.
        finite: whether the last attempted iteration was finite.
        gradient: the meta-gradient of the last iteration.
        proposed: phi after the last iteration, even if its update is not kept.
        carried: the carried state for the next iteration.
    """

    rows: tf.Tensor
    kept: tf.Tensor
    finite: tf.Tensor
    gradient: Meta
    proposed: Meta
    carried: Carried


class Program:
    """Iterations within a block of tasks, to be compiled as one function.

    Args:
        learner: the learner, which computes the meta-gradient.
        optimizers: the optimizers, which update phi.
        structure: phi, for its structure.
        metrics: the names of the metrics that the outer loss reports.
        length: the largest number of iterations of a call.
        stored: the number of iterations whose tasks a block contains; later iterations reuse them in order.
        clip: the limits for each task's meta-gradient.
        loss_interval: the interval of iterations with losses before and after adaptation.
        carry: the number of iterations for which inner loops are carried.
        projection: the projection of phi after each update, or None.

    Attributes:
        metrics: the names of the columns of a result.
        projection: the projection.
    """

    def __init__(
        self,
        learner: Learner,
        optimizers: Optimizers,
        structure: Meta,
        *,
        metrics: list[str],
        length: int,
        stored: int,
        clip: Clip,
        loss_interval: int,
        carry: Carry,
        projection: Callable[[Meta], Meta] | None,
    ) -> None:
        self._learner, self._optimizers, self._structure = learner, optimizers, structure
        self._length, self._stored, self._clip = length, stored, clip
        self._loss_interval, self._carry, self.projection = loss_interval, carry, projection
        self._required = [JUDGED, "meta_gradient/norm", *optimizers.rate_names()]
        self._required += [f"meta_gradient/norm/{name}" for name in optimizers.names]
        self.metrics = [*AROUND, *self._required, *(f"outer/{name}" for name in metrics)]
        self.metrics += [f"residual/{name}" for name in learner.estimator.residuals]

    def trace(self, given: Arguments) -> Outcome:
        """Make the iterations of a call."""

        def body(index: tf.Tensor, tried: Tried) -> tuple[tf.Tensor, Tried]:
            iteration = given.first + index
            found = self.find(self.tasks(given.block, iteration), given.seed, iteration, tried.carried[1])
            return index + 1, self._iteration(index, iteration, found, tried)

        zeros = tf.nest.map_structure(tf.zeros_like, self.phi())
        begun = Tried(
            rows=tf.TensorArray(tf.float32, size=self._length, element_shape=[len(self.metrics)]),
            finite=tf.constant(True),
            before=self.values(),
            gradient=zeros,
            carried=(given.carried, given.carried),
        )
        tried_count, tried = tf.while_loop(
            lambda index, tried: (index < given.count) & tried.finite, body, (tf.constant(0), begun)
        )
        # The loop ends at the first non-finite iteration, so only this one has to be undone.
        kept = tried.finite & given.keep
        proposed = self.phi()
        self.undo(tried.before, kept)
        return Outcome(
            rows=tried.rows.stack(),
            kept=tried_count - tf.cast(~kept, tf.int32),
            finite=tried.finite,
            gradient=tried.gradient,
            proposed=proposed,
            carried=tf.nest.map_structure(lambda old, new: tf.where(kept, new, old), *tried.carried),
        )

    def like(self, given: Arguments) -> Outcome:
        """Return a structure that equals that of the result of :meth:`trace`."""
        return Outcome(given.count, given.count, given.keep, self._structure, self._structure, given.carried)

    def found(self, carried: Carried) -> Found:
        """Return the shapes and types of the results of :meth:`find` whose means over workers are needed."""
        means = set(self.metrics) - {*self._required} | {JUDGED}
        numbers = dict.fromkeys(means, tf.TensorSpec([]))
        like = tf.nest.map_structure(tf.TensorSpec.from_tensor, (self._structure, carried.statistics))
        return Found(like[0], numbers, like[1], (), ())

    def settings(self) -> tuple[Any, ...]:
        """Return the settings that the traced program depends on, other than those of the learner."""
        ours = self._length, self._stored, self._clip, self._loss_interval, self._carry, self.metrics
        return *ours, self._optimizers.configs()

    def _iteration(self, index: tf.Tensor, iteration: tf.Tensor, found: Found, tried: Tried) -> Tried:
        before = self.values()
        row, finite = self.move(found, iteration)
        return Tried(
            rows=tried.rows.write(index, row),
            finite=finite,
            before=before,
            gradient=found.gradient,
            carried=(tried.carried[1], Carried(found.statistics, found.inner, found.estimator)),
        )

    def tasks(self, block: Task, iteration: tf.Tensor) -> Task:
        """Return the tasks of an iteration from its block."""
        # Not leaf[...]: XLA treats the bounds of a slice as constants and compiles anew for each.
        return tf.nest.map_structure(lambda leaf: tf.gather(leaf, iteration % self._stored), block)

    def move(self, found: Found, iteration: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Update phi; return the metrics, and whether all values are finite."""
        row = self._update(found)
        # One reduction over all leaves, because XLA would compile a separate loop for each.
        parts = [tf.reshape(leaf, [-1]) for leaf in tf.nest.flatten(self.phi())]
        wide = tf.float64 if any(part.dtype == tf.float64 for part in parts) else tf.float32
        around = tf.stack([row[name] for name in AROUND])
        numbers = [tf.where(self._has_losses(iteration), around, tf.zeros_like(around))]
        numbers += [tf.stack([row[name] for name in self._required]), *parts]
        everything = tf.concat([tf.cast(part, wide) for part in numbers], 0)
        finite = tf.reduce_all(tf.math.is_finite(everything))
        return tf.stack([row[name] for name in self.metrics]), finite

    def _has_losses(self, iteration: int | tf.Tensor) -> bool | tf.Tensor:
        return iteration % self._loss_interval == 0

    def culprits(self, outcome: Outcome, row: np.ndarray, iteration: int) -> list[str]:
        """Return the names of the non-finite values of a rejected iteration, given its metrics."""
        values = dict(zip(self.metrics, row, strict=True))
        required = [*AROUND, *self._required] if self._has_losses(iteration) else self._required
        found = [name for name in required if not np.isfinite(values[name])]
        found = [name.removeprefix("meta_gradient/norm/") for name in found]
        proposed = zip(self._optimizers.names, tf.nest.flatten(outcome.proposed), strict=True)
        return found or [name for name, leaf in proposed if not np.isfinite(leaf.numpy()).all()]

    def undo(self, before: list[tf.Tensor], kept: tf.Tensor) -> None:
        """Restore the previous values of all variables unless ``kept``."""
        for variable, old in zip(self._stateful(), before, strict=True):
            variable.assign(tf.where(kept, variable.value, old))

    def variables(self) -> dict[str, keras.Variable]:
        """Return the variables of the optimizers, by names that every process has."""
        return self._optimizers.named()

    def _stateful(self) -> list[keras.Variable]:
        return [*self._optimizers.variables, *(variable for _, variable in self._optimizers.state())]

    def values(self) -> list[tf.Tensor]:
        """Return the values of all variables that an iteration updates."""
        return [tf.identity(variable.value) for variable in self._stateful()]

    def find(self, tasks: Task, seed: tf.Tensor, iteration: tf.Tensor, carried: Carried) -> Found:
        """Return the results for the tasks of an iteration."""
        meta, tasks, result, carry = self._estimate(self.phi(), tasks, seed, iteration, carried)

        def around() -> list[tf.Tensor]:
            pair = tf.stack([seed, iteration])
            found = losses(self._learner, meta, tasks, result.inner, pair, result.loss)
            return [tf.cast(tf.reduce_mean(found[name]), tf.float32) for name in AROUND]

        def left_out() -> list[tf.Tensor]:
            return [tf.constant(np.nan, tf.float32) for _ in AROUND]

        everywhere = self._loss_interval == 1
        found = around() if everywhere else tf.cond(self._has_losses(iteration), around, left_out)
        means = {**dict(zip(AROUND, found, strict=True)), JUDGED: tf.reduce_mean(result.loss)}
        means |= {f"outer/{name}": tf.reduce_mean(value) for name, value in result.metrics.items()}
        means |= {f"residual/{name}": tf.reduce_mean(value) for name, value in result.residual.items()}
        return Found(
            combined(result, self._clip),
            {name: tf.cast(value, tf.float32) for name, value in means.items()},
            self._learner.next_state(meta, tasks, result.inner),
            result.inner if self._carry is not None else (),
            carry,
        )

    def _update(self, found: Found) -> dict[str, tf.Tensor]:
        """Update phi; return the metrics."""
        optimizers, gradients = self._optimizers, tf.nest.flatten(found.gradient)
        squares = tf.stack([tf.cast(tf.reduce_sum(tf.square(leaf)), tf.float32) for leaf in gradients])
        norms = dict(zip(optimizers.names, tf.unstack(tf.sqrt(squares)), strict=True))
        row = {**found.means, "meta_gradient/norm": tf.sqrt(tf.reduce_sum(squares))}
        row |= optimizers.learning_rates()
        row |= {f"meta_gradient/norm/{name}": norm for name, norm in norms.items()}
        optimizers.apply(gradients)
        if self.projection is not None:
            projected = tf.nest.flatten(self.projection(self.phi()))
            for variable, value in zip(optimizers.variables, projected, strict=True):
                variable.assign(value)
        return {name: tf.cast(value, tf.float32) for name, value in row.items()}

    def _estimate(
        self, phi: Meta, tasks: Task, seed: tf.Tensor, iteration: tf.Tensor, carried: Carried
    ) -> tuple[Meta, Task, MetaGradient, Structure]:
        """Return the meta-parameters, the tasks with carried inner loops, the meta-gradient and the carry."""
        meta = self._learner.whole(phi, carried.statistics)
        tasks = continued(tasks, carried.inner, self._carry, iteration)
        pair = tf.stack([seed, iteration])
        return meta, tasks, *estimate(self._learner, meta, tasks, carried.estimator, pair)

    def gradient(
        self, phi: Meta, tasks: Task, seed: tf.Tensor, iteration: tf.Tensor, carried: Carried
    ) -> Meta:
        """Return the meta-gradient of an iteration at phi."""
        return combined(self._estimate(phi, tasks, seed, iteration, carried)[2], self._clip)

    def phi(self) -> Meta:
        """Return the current phi."""
        values = [tf.convert_to_tensor(variable.value) for variable in self._optimizers.variables]
        return tf.nest.pack_sequence_as(self._structure, values)
