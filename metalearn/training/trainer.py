"""Meta-training: many iterations in one compiled call."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from metalearn.checks import require_count, require_positive
from metalearn.nest import names
from metalearn.problems.few_shot import MetaLearner
from metalearn.training.combine import mean_of_clipped
from metalearn.types import Meta, Structure, Task, TaskDistribution

LOSSES = ("inner/loss_before", "inner/loss", "outer/loss_before", "outer/loss")

BLOCK_EXAMPLES = 250_000
"""Examples drawn at once, about: a block is as many iterations as fit, from 1 to ``BLOCK_ITERATIONS``."""

BLOCK_ITERATIONS = 250

History = dict[str, np.ndarray]


class NonFiniteError(ArithmeticError):
    """A loss or a meta-gradient stopped being finite.

    Attributes:
        iteration: the iteration (counted from 0) whose update was not made.
        tensors: what was not finite: ``"outer/loss"``, names of meta-parameters.
        history: the metrics of the iterations of this call before it.
    """

    def __init__(self, iteration: int, tensors: list[str], history: History) -> None:
        super().__init__(
            f"iteration {iteration}: not finite: {', '.join(tensors)}. The meta-parameters are those before "
            "it. Lower rule.learning_rate or optimizer.learning_rate, take fewer inner steps, or clip with "
            "the optimizer's clipnorm"
        )
        self.iteration, self.tensors, self.history = iteration, tensors, history


class MetaTrainer:
    """Moves meta-parameters along the meta-gradient with a Keras optimizer.

    Iteration i uses tasks that depend on ``(seed, i)`` only, so a run may be cut into calls of :meth:`run`
    anywhere, and continued from :meth:`state`, and ends with the same bits.

    Args:
        learner: what computes the meta-gradient.
        tasks: distribution of the training tasks.
        optimizer: an unused Keras optimizer; its schedules and clipping apply.
        meta_batch_size: T, tasks of an iteration.
        seed: of the initial meta-parameters and of the tasks.
        clip_task_value: largest entry of a task's meta-gradient, see
            :func:`metalearn.training.combine.mean_of_clipped`; None for no limit. The optimizer's ``clipnorm``
            and ``clipvalue`` clip the mean over tasks.
        clip_task_norm: largest length of a task's meta-gradient; None for no limit.
        jit_compile: compile with XLA; None for what suits the learner (``learner.jit_compile_advised``).

    Raises:
        ValueError: if the batch size, a limit or a constant learning rate is not positive, the optimizer has
            been used, or the shapes of model and tasks do not fit.
    """

    def __init__(
        self,
        learner: MetaLearner,
        tasks: TaskDistribution,
        optimizer: keras.optimizers.Optimizer,
        meta_batch_size: int = 25,
        seed: int = 0,
        *,
        clip_task_value: float | None = None,
        clip_task_norm: float | None = None,
        jit_compile: bool | None = None,
    ) -> None:
        require_count("meta_batch_size", meta_batch_size)
        self._clip = {"value": clip_task_value, "norm": clip_task_norm}
        for limit, bound in self._clip.items():
            if bound is not None:
                require_positive(f"clip_task_{limit} (null for none)", bound)
        require_count("seed", seed, minimum=0)
        if optimizer.built:
            raise ValueError("the optimizer already holds the state of another training: make a new one")
        rate = optimizer.get_config()["learning_rate"]
        if not isinstance(rate, dict):  # a schedule; it may well start at 0
            require_positive("the optimizer's learning_rate", rate)
        example = tasks.sample((seed, 0), 1)
        learner.require_fit(example)
        self.learner, self.tasks, self.optimizer = learner, tasks, optimizer
        self.meta_batch_size, self.seed, self.iteration = meta_batch_size, seed, 0
        self.last_gradient: Meta | None = None
        self._structure = learner.initialize(seed)
        self._names = names(self._structure)
        self._metrics = [*LOSSES, "meta_gradient/norm", "learning_rate"]
        self._metrics += [f"meta_gradient/norm/{name}" for name in self._names]
        self._variables = [
            keras.Variable(value, dtype=value.dtype, name=name.replace("/", "."))
            for name, value in zip(self._names, tf.nest.flatten(self._structure), strict=True)
        ]
        optimizer.build(self._variables)
        examples = meta_batch_size * sum(
            int(batch.targets.shape[1]) for batch in (example.support, example.query)
        )
        self._block_length = int(np.clip(BLOCK_EXAMPLES // examples, 1, BLOCK_ITERATIONS))
        self._block: tuple[int, Task] | None = None
        self._sample_block = tf.function(self._trace_sample_block, autograph=False)
        self.jit_compile = learner.jit_compile_advised if jit_compile is None else jit_compile
        self._iterate = tf.function(self._trace_iterate, jit_compile=self.jit_compile, autograph=False)

    @property
    def meta(self) -> Meta:
        """The meta-parameters now."""
        values = [tf.convert_to_tensor(variable.value) for variable in self._variables]
        return tf.nest.pack_sequence_as(self._structure, values)

    def state(self) -> dict[str, np.ndarray]:
        """Return all that training needs to go on from here: the contents of a checkpoint."""
        state = {name: variable.numpy() for name, variable in self._stateful()}
        return {"iteration": np.int64(self.iteration), **state}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a state that a trainer of the same configuration returned.

        Raises:
            ValueError: naming what is missing, unknown or of another shape or type.
        """
        expected = dict(self._stateful())
        if missing_or_unknown := set(state) ^ {"iteration", *expected}:
            raise ValueError(f"this state is of another configuration: {sorted(missing_or_unknown)} differ")
        iteration = np.asarray(state["iteration"])
        if iteration.shape or iteration.dtype.kind not in "iu" or iteration < 0:
            raise ValueError(f"iteration must be an integer of at least 0, the state has {iteration!r}")
        for name, variable in expected.items():
            value = state[name]
            if value.shape != tuple(variable.shape) or value.dtype != variable.dtype:
                raise ValueError(
                    f"{name} has shape {value.shape} and type {value.dtype} in the state, "
                    f"{tuple(variable.shape)} and {variable.dtype} here"
                )
        for name, variable in expected.items():
            variable.assign(state[name])
        self.iteration = int(iteration)

    def run(self, iterations: int) -> History:
        """Train for ``iterations`` more iterations.

        Returns:
            For each metric an array with one row an iteration: ``outer/loss`` and ``inner/loss`` (query and
            support loss after adaptation, mean over the tasks), ``outer/loss_before`` and
            ``inner/loss_before`` (before), ``meta_gradient/norm`` in total and per variable,
            ``learning_rate`` (of the optimizer).

        Raises:
            NonFiniteError: if a loss or gradient is not finite; ``meta`` and ``iteration`` are then those
                before the failing iteration.
        """
        require_count("iterations", iterations)
        parts: list[History] = []
        end = self.iteration + iterations
        while self.iteration < end:
            block, offset = divmod(self.iteration, self._block_length)
            count = min(end - self.iteration, self._block_length - offset)
            part, culprits = self._run_within_block(self._tasks_of(block), count)
            parts.append(part)
            if culprits:
                raise NonFiniteError(self.iteration, culprits, _concatenate(parts))
        return _concatenate(parts)

    def training_tasks(self, iteration: int) -> Task:
        """Return the tasks ``[T, N, ...]`` that an iteration (counted from 0) trains on."""
        block, offset = divmod(iteration, self._block_length)
        return tf.nest.map_structure(lambda leaf: leaf[offset], self._tasks_of(block))

    def _tasks_of(self, block: int) -> Task:
        if self._block is None or self._block[0] != block:
            self._block = block, self._sample_block(tf.constant([self.seed, block]))
        return self._block[1]

    def _run_within_block(self, tasks: Task, count: int) -> tuple[History, list[str]]:
        """Return the history up to the first iteration with something not finite, and what that is."""
        first = tf.constant(self.iteration)
        before, rows, overflown, gradient = self._iterate(tasks, first, tf.constant(count))
        history = dict(zip(self._metrics, rows.numpy()[:count].T, strict=True))
        finite = np.all([np.isfinite(values) for values in history.values()], axis=0)
        kept, culprits = count, []
        if not finite.all():
            kept = int(np.argmin(finite))
            culprits = [name for name, values in history.items() if not np.isfinite(values[kept])]
            overflown, gradient = self._rewind(before, tasks, first, kept)
        if overflown.numpy().any():  # by the last update; its gradient was finite
            culprits = [name for name, bad in zip(self._names, overflown.numpy(), strict=True) if bad]
            kept -= 1
            _, gradient = self._rewind(before, tasks, first, kept)
        self.iteration += kept
        self.last_gradient = gradient if kept else self.last_gradient
        history = {name: values[:kept] for name, values in history.items()}
        return history, [name.removeprefix("meta_gradient/norm/") for name in culprits]

    def _rewind(
        self, before: list[tf.Tensor], tasks: Task, first: tf.Tensor, count: int
    ) -> tuple[tf.Tensor, Meta]:
        """Go back to ``before`` and repeat ``count`` iterations: deterministic, so with the same bits."""
        for (_, variable), value in zip(self._stateful(), before, strict=True):
            variable.assign(value)
        return self._iterate(tasks, first, tf.constant(count))[2:]

    def _stateful(self) -> list[tuple[str, keras.Variable]]:
        meta = [
            (f"meta/{name}", variable) for name, variable in zip(self._names, self._variables, strict=True)
        ]
        # Keras' paths start with the optimizer's name, which counts the optimizers of the process.
        return meta + [
            (f"optimizer/{variable.path.partition('/')[2]}", variable)
            for variable in self.optimizer.variables
        ]

    def _trace_sample_block(self, seed: tf.Tensor) -> Task:
        tasks = self.tasks.sample(seed, self._block_length * self.meta_batch_size)
        shape = [self._block_length, self.meta_batch_size]
        return tf.nest.map_structure(lambda leaf: tf.reshape(leaf, shape + leaf.shape[1:]), tasks)

    def _trace_iterate(self, block: Task, first: tf.Tensor, count: tf.Tensor) -> tuple[Structure, ...]:
        """Return the state before, a row of metrics an iteration, what is not finite after, a gradient."""
        before = [tf.identity(variable.value) for _, variable in self._stateful()]

        def body(index: tf.Tensor, rows: tf.TensorArray, _: Meta) -> tuple[Structure, ...]:
            iteration = first + index
            # Not leaf[...]: XLA takes the bounds of a slice for constants, and compiles anew for each.
            tasks = tf.nest.map_structure(lambda leaf: tf.gather(leaf, iteration % self._block_length), block)
            row, gradient = self._update(tasks, iteration)
            return index + 1, rows.write(index, tf.stack([row[name] for name in self._metrics])), gradient

        rows = tf.TensorArray(tf.float32, size=self._block_length, element_shape=[len(self._metrics)])
        zeros = tf.nest.map_structure(tf.zeros_like, self.meta)
        _, rows, gradient = tf.while_loop(
            lambda index, *_: index < count, body, (tf.constant(0), rows, zeros)
        )
        values = [tf.convert_to_tensor(variable.value) for variable in self._variables]
        overflown = tf.stack([~tf.reduce_all(tf.math.is_finite(value)) for value in values])
        return before, rows.stack(), overflown, gradient

    def _update(self, tasks: Task, iteration: tf.Tensor) -> tuple[dict[str, tf.Tensor], Meta]:
        result = self.learner.meta_gradient(self.meta, tasks, seed=tf.stack([self.seed, iteration]))
        clipped = any(self._clip.values())
        gradient = mean_of_clipped(result.per_task, **self._clip) if clipped else result.gradient
        gradients = tf.nest.flatten(gradient)
        squares = tf.stack([tf.cast(tf.reduce_sum(tf.square(leaf)), tf.float32) for leaf in gradients])
        norms = dict(zip(self._names, tf.unstack(tf.sqrt(squares)), strict=True))
        losses = self.learner.losses(self.meta, tasks, result.adapted)
        row = {
            **{name: tf.reduce_mean(loss) for name, loss in losses.items()},
            "meta_gradient/norm": tf.sqrt(tf.reduce_sum(squares)),
            "learning_rate": tf.convert_to_tensor(self.optimizer.learning_rate),
        }
        row |= {f"meta_gradient/norm/{name}": norm for name, norm in norms.items()}
        self.optimizer.apply(gradients, self._variables)
        return {name: tf.cast(value, tf.float32) for name, value in row.items()}, gradient


def _concatenate(parts: list[History]) -> History:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
