"""The program of a training: iterations in a loop in the graph, none of which is made unless it is finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from metalearn.execution.compiled import Compiled
from metalearn.problems.learner import Learner, estimate, losses
from metalearn.training.carrying import Carried, Carry, continued
from metalearn.training.combine import Clip, combined
from metalearn.training.optimizers import Optimizers
from metalearn.types import Meta, MetaGradient, Structure, Task

LOSSES = ("inner/loss_before", "inner/loss", "outer/loss_before", "outer/loss")


class Tried(NamedTuple):
    """Where the loop over iterations is: the last iteration that was tried, and the state before it.

    Attributes:
        rows: of metrics, a tensor array with one entry an iteration.
        finite: whether the last iteration was finite.
        before: values of all variables before it.
        gradient: the meta-gradient of it.
        carried: what was carried into it, and out of it.
    """

    rows: tf.TensorArray
    finite: tf.Tensor
    before: list[tf.Tensor]
    gradient: Meta
    carried: tuple[Carried, Carried]


class Outcome(NamedTuple):
    """What a call of the program returns.

    Attributes:
        rows: of metrics, ``[length, metrics]``; as many as iterations were tried are filled.
        kept: iterations whose updates were made.
        finite: whether the last one that was tried was finite.
        gradient: the meta-gradient of the last iteration.
        proposed: phi after the last iteration, also where that was not to be kept.
        carried: into the next iteration.
    """

    rows: tf.Tensor
    kept: tf.Tensor
    finite: tf.Tensor
    gradient: Meta
    proposed: Meta
    carried: Carried


class Program:
    """One compiled function for any number of iterations within a block of tasks.

    Args:
        learner: what computes the meta-gradient.
        optimizers: what moves phi.
        structure: phi, for its structure.
        metrics: names of what the outer loss reports.
        seed: of the training.
        length: the most iterations of a call.
        stored: iterations whose tasks a block holds, after which they come round again.
        clip: limits for each task's meta-gradient.
        carry: how long inner loops are carried.
        projection: of phi after each update, or None.
    """

    def __init__(
        self,
        learner: Learner,
        optimizers: Optimizers,
        structure: Meta,
        *,
        metrics: list[str],
        seed: int,
        length: int,
        stored: int,
        clip: Clip,
        carry: Carry,
        projection: Callable[[Meta], Meta] | None,
        jit_compile: bool | None,
    ) -> None:
        self._learner, self._optimizers, self._structure = learner, optimizers, structure
        self._seed, self._length, self._stored, self._clip = seed, length, stored, clip
        self._carry, self._projection = carry, projection
        self.required = [*LOSSES, "meta_gradient/norm", *optimizers.rate_names()]
        self.required += [f"meta_gradient/norm/{name}" for name in optimizers.names]
        self.metrics = [*self.required, *(f"outer/{name}" for name in metrics)]
        self.metrics += [f"residual/{name}" for name in learner.estimator.residuals]
        self.call = Compiled(self._trace, learner.mapping, jit_compile)

    def _trace(
        self, block: Task, first: tf.Tensor, count: tf.Tensor, keep: tf.Tensor, carried: Carried
    ) -> Outcome:
        """Make ``count`` iterations from ``first`` on; ``keep`` says whether the updates are to stay."""

        def body(index: tf.Tensor, tried: Tried) -> tuple[tf.Tensor, Tried]:
            iteration = first + index
            # Not leaf[...]: XLA takes the bounds of a slice for constants, and compiles anew for each.
            tasks = tf.nest.map_structure(lambda leaf: tf.gather(leaf, iteration % self._stored), block)
            return index + 1, self._iteration(index, iteration, tasks, tried)

        zeros = tf.nest.map_structure(tf.zeros_like, self._phi())
        begun = Tried(
            rows=tf.TensorArray(tf.float32, size=self._length, element_shape=[len(self.metrics)]),
            finite=tf.constant(True),
            before=self._values(),
            gradient=zeros,
            carried=(carried, carried),
        )
        tried_count, tried = tf.while_loop(
            lambda index, tried: (index < count) & tried.finite, body, (tf.constant(0), begun)
        )
        # The loop ends with the first iteration that is not finite, so this is all that has to be taken back.
        kept = tried.finite & keep
        proposed = self._phi()
        for variable, old in zip(self._stateful(), tried.before, strict=True):
            variable.assign(tf.where(kept, variable.value, old))
        return Outcome(
            rows=tried.rows.stack(),
            kept=tried_count - tf.cast(~kept, tf.int32),
            finite=tried.finite,
            gradient=tried.gradient,
            proposed=proposed,
            carried=tf.nest.map_structure(lambda old, new: tf.where(kept, new, old), *tried.carried),
        )

    def _iteration(self, index: tf.Tensor, iteration: tf.Tensor, tasks: Task, tried: Tried) -> Tried:
        before = self._values()
        row, gradient, after = self._update(tasks, iteration, tried.carried[1])
        # One reduction over all, not one a leaf: each would be a program of its own for XLA to compile.
        parts = [tf.reshape(leaf, [-1]) for leaf in tf.nest.flatten(self._phi())]
        wide = tf.float64 if any(part.dtype == tf.float64 for part in parts) else tf.float32
        numbers = [tf.stack([row[name] for name in self.required]), *parts]
        everything = tf.concat([tf.cast(part, wide) for part in numbers], 0)
        return Tried(
            rows=tried.rows.write(index, tf.stack([row[name] for name in self.metrics])),
            finite=tf.reduce_all(tf.math.is_finite(everything)),
            before=before,
            gradient=gradient,
            carried=(tried.carried[1], after),
        )

    def _stateful(self) -> list[keras.Variable]:
        return [*self._optimizers.variables, *(variable for _, variable in self._optimizers.state())]

    def _values(self) -> list[tf.Tensor]:
        return [tf.identity(variable.value) for variable in self._stateful()]

    def _update(
        self, tasks: Task, iteration: tf.Tensor, carried: Carried
    ) -> tuple[dict[str, tf.Tensor], Meta, Carried]:
        """Update phi; return the metrics, the gradient, and what is carried on."""
        optimizers, seed = self._optimizers, tf.stack([self._seed, iteration])
        meta, tasks, result, carry = self._estimate(self._phi(), tasks, iteration, carried)
        gradient = combined(result, self._clip)
        gradients = tf.nest.flatten(gradient)
        squares = tf.stack([tf.cast(tf.reduce_sum(tf.square(leaf)), tf.float32) for leaf in gradients])
        norms = dict(zip(optimizers.names, tf.unstack(tf.sqrt(squares)), strict=True))
        around = losses(self._learner, meta, tasks, result.inner, seed, result.loss)
        row = {
            **{name: tf.reduce_mean(loss) for name, loss in around.items()},
            "meta_gradient/norm": tf.sqrt(tf.reduce_sum(squares)),
            **optimizers.learning_rates(),
        }
        row |= {f"meta_gradient/norm/{name}": norm for name, norm in norms.items()}
        row |= {f"outer/{name}": tf.reduce_mean(value) for name, value in result.metrics.items()}
        row |= {f"residual/{name}": tf.reduce_mean(value) for name, value in result.residual.items()}
        optimizers.apply(gradients)
        if self._projection is not None:
            projected = tf.nest.flatten(self._projection(self._phi()))
            for variable, value in zip(optimizers.variables, projected, strict=True):
                variable.assign(value)
        after = Carried(
            self._learner.next_state(meta, tasks, result.inner),
            result.inner if self._carry is not None else (),
            carry,
        )
        return {name: tf.cast(value, tf.float32) for name, value in row.items()}, gradient, after

    def _estimate(
        self, phi: Meta, tasks: Task, iteration: tf.Tensor, carried: Carried
    ) -> tuple[Meta, Task, MetaGradient, Structure]:
        """Return the meta-parameters, the tasks with what is carried, the meta-gradient, and the carry."""
        meta = self._learner.whole(phi, carried.statistics)
        tasks = continued(tasks, carried.inner, self._carry, iteration)
        seed = tf.stack([self._seed, iteration])
        return meta, tasks, *estimate(self._learner, meta, tasks, carried.estimator, seed)

    def gradient(self, phi: Meta, tasks: Task, iteration: tf.Tensor, carried: Carried) -> Meta:
        """Return the meta-gradient at phi that an iteration's update would be made from."""
        return combined(self._estimate(phi, tasks, iteration, carried)[2], self._clip)

    def _phi(self) -> Meta:
        values = [tf.convert_to_tensor(variable.value) for variable in self._optimizers.variables]
        return tf.nest.pack_sequence_as(self._structure, values)
