"""The program of a training: iterations in a loop in the graph, none of which is made unless it is finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from metalearn.problems.learner import Learner, estimate, losses
from metalearn.training.carrying import Carried, Carry, continued
from metalearn.training.combine import Clip, combined
from metalearn.training.optimizers import Optimizers
from metalearn.types import Meta, Task

LOSSES = ("inner/loss_before", "inner/loss", "outer/loss_before", "outer/loss")


class Outcome(NamedTuple):
    """What a call of the program returns.

    Attributes:
        rows: of metrics, ``[length, metrics]``; as many as iterations were tried are filled.
        kept: iterations whose updates were made.
        finite: whether the last one that was tried was finite.
        overflown: which leaves of phi its update would have made infinite or NaN.
        gradient: the meta-gradient of the last finite iteration.
        proposed: phi after the last finite update, also where it was not to be kept.
        carried: into the next iteration.
    """

    rows: tf.Tensor
    kept: tf.Tensor
    finite: tf.Tensor
    overflown: tf.Tensor
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
        length: iterations of a block.
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
        clip: Clip,
        carry: Carry,
        projection: Callable[[Meta], Meta] | None,
        jit_compile: bool,
    ) -> None:
        self._learner, self._optimizers, self._structure = learner, optimizers, structure
        self._seed, self._length, self._clip = seed, length, clip
        self._carry, self._projection = carry, projection
        self.required = [*LOSSES, "meta_gradient/norm", *optimizers.rate_names()]
        self.required += [f"meta_gradient/norm/{name}" for name in optimizers.names]
        self.metrics = [*self.required, *(f"outer/{name}" for name in metrics)]
        self.metrics += [f"residual/{name}" for name in learner.estimator.residuals]
        self.call = tf.function(self._trace, jit_compile=jit_compile, autograph=False)

    def _trace(
        self, block: Task, first: tf.Tensor, count: tf.Tensor, keep: tf.Tensor, carried: Carried
    ) -> Outcome:
        """Make ``count`` iterations from ``first`` on; ``keep`` says whether the updates are to stay."""

        def body(index: tf.Tensor, outcome: Outcome) -> tuple[tf.Tensor, Outcome]:
            iteration = first + index
            # Not leaf[...]: XLA takes the bounds of a slice for constants, and compiles anew for each.
            tasks = tf.nest.map_structure(lambda leaf: tf.gather(leaf, iteration % self._length), block)
            return index + 1, self._iteration(index, iteration, tasks, keep, outcome)

        rows = tf.TensorArray(tf.float32, size=self._length, element_shape=[len(self.metrics)])
        zeros = tf.nest.map_structure(tf.zeros_like, self._phi())
        nothing = tf.zeros([len(self._optimizers.variables)], tf.bool)
        begun = Outcome(rows, tf.constant(0), tf.constant(True), nothing, zeros, zeros, carried)
        _, outcome = tf.while_loop(
            lambda index, outcome: (index < count) & outcome.finite, body, (tf.constant(0), begun)
        )
        return outcome._replace(rows=outcome.rows.stack())

    def _iteration(
        self, index: tf.Tensor, iteration: tf.Tensor, tasks: Task, keep: tf.Tensor, outcome: Outcome
    ) -> Outcome:
        stateful = [*self._optimizers.variables, *(variable for _, variable in self._optimizers.state())]
        before = [tf.identity(variable.value) for variable in stateful]
        row, gradient, after = self._update(tasks, iteration, outcome.carried)
        values = [tf.convert_to_tensor(variable.value) for variable in self._optimizers.variables]
        overflown = tf.stack([~tf.reduce_all(tf.math.is_finite(value)) for value in values])
        is_row_finite = tf.reduce_all(tf.math.is_finite([row[name] for name in self.required]))
        finite = is_row_finite & ~tf.reduce_any(overflown)
        proposed = tf.nest.pack_sequence_as(self._structure, values)
        kept = finite & keep
        for variable, old in zip(stateful, before, strict=True):
            variable.assign(tf.where(kept, variable.value, old))

        def chosen(condition: tf.Tensor, new: Any, old: Any) -> Any:
            return tf.nest.map_structure(lambda new, old: tf.where(condition, new, old), new, old)

        return Outcome(
            rows=outcome.rows.write(index, tf.stack([row[name] for name in self.metrics])),
            kept=outcome.kept + tf.cast(kept, tf.int32),
            finite=finite,
            overflown=overflown & is_row_finite,
            gradient=chosen(finite, gradient, outcome.gradient),
            proposed=chosen(finite, proposed, outcome.proposed),
            carried=chosen(kept, after, outcome.carried),
        )

    def _update(
        self, tasks: Task, iteration: tf.Tensor, carried: Carried
    ) -> tuple[dict[str, tf.Tensor], Meta, Carried]:
        """Update phi; return the metrics, the gradient, and what is carried on."""
        learner, optimizers = self._learner, self._optimizers
        meta, seed = learner.whole(self._phi(), carried.statistics), tf.stack([self._seed, iteration])
        tasks = continued(tasks, carried.inner, self._carry, iteration)
        result, kept = estimate(learner, meta, tasks, carried.estimator, seed)
        gradient = combined(result, self._clip)
        gradients = tf.nest.flatten(gradient)
        squares = tf.stack([tf.cast(tf.reduce_sum(tf.square(leaf)), tf.float32) for leaf in gradients])
        norms = dict(zip(optimizers.names, tf.unstack(tf.sqrt(squares)), strict=True))
        around = losses(learner, meta, tasks, result.inner, seed)
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
            learner.next_state(carried.statistics, result.inner),
            result.inner if self._carry is not None else (),
            kept,
        )
        return {name: tf.cast(value, tf.float32) for name, value in row.items()}, gradient, after

    def _phi(self) -> Meta:
        values = [tf.convert_to_tensor(variable.value) for variable in self._optimizers.variables]
        return tf.nest.pack_sequence_as(self._structure, values)
