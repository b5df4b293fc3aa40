"""Meta-training: many iterations in one compiled call."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.execution.threads import meanwhile
from metalearn.inner_loop import counted
from metalearn.nest import matched
from metalearn.problems.learner import Learner
from metalearn.problems.second_derivatives import SecondDerivatives
from metalearn.problems.stored import Cache, Stored
from metalearn.sources import Source, as_source
from metalearn.training import carrying
from metalearn.training.agreement import copies, disagreement
from metalearn.training.arguments import Arguments
from metalearn.training.blocks import Blocks
from metalearn.training.calling import Call, Callback, watching
from metalearn.training.carrying import Carry
from metalearn.training.combine import Clip
from metalearn.training.errors import NonFiniteError
from metalearn.training.following import Order, give, together
from metalearn.training.history import History, concatenated
from metalearn.training.optimizers import Given, Optimizers
from metalearn.training.program import Outcome, Program
from metalearn.training.projection import require_projection
from metalearn.training.sharded import begun, compiled, own
from metalearn.training.state import State, captured, restored
from metalearn.training.stored import Known
from metalearn.training.workers import Workers
from metalearn.types import Meta, Task, TaskMapping


class MetaTrainer:
    """A trainer that updates meta-parameters with meta-gradients and a Keras optimizer.

    The tasks of iteration i depend on ``(seed, i)`` only, so a run may be divided into calls of :meth:`run`
    in any way, or continued from :meth:`state`, and ends with the same bits.

    Args:
        learner: a ``MetaLearner``, a ``BilevelLearner``, or any other
            :class:`metalearn.problems.learner.Learner`.
        tasks: the source of the training tasks, or an argument of :func:`metalearn.tasks.as_source`.
        optimizer: an unused Keras optimizer, whose schedules and clipping apply; or a dict with one for each
            top-level part of phi, ``{"parameters": ..., "rule": ...}``.
        meta_batch_size: T, the number of tasks of an iteration.
        seed: the seed of the initial meta-parameters and of the tasks.
        loss_interval: the interval of iterations with losses before and after adaptation, which take extra
            passes. They are NaN in other rows; the minimised loss is in all rows.
        clip_task_value: the largest entry of a task's meta-gradient, see
            :func:`metalearn.training.combine.mean_of_clipped`; None for no limit. The optimizer's
            ``clipnorm`` and ``clipvalue`` clip the mean over tasks.
        clip_task_norm: the largest norm of a task's meta-gradient; None for no limit.
        carry: the number of iterations after which an inner loop restarts, ``"forever"`` for no restart, or
            None for a restart in every iteration. A carried loop continues from the last parameters and
            states of the previous iteration, task by task, and its step numbers continue.
        projection: ``phi -> phi``, a projection onto a feasible set that is applied after each update. It has
            to keep structure, shapes and types.
        jit_compile: whether to compile with XLA; None for an automatic choice, see
            :class:`metalearn.execution.compiled.Compiled`.
        check_derivatives: whether to compare the derivatives for a second-order estimator with differences,
            see :func:`metalearn.problems.check_second_derivatives`, and the compiled meta-gradient with eager
            execution before the first iteration. It takes less than a second for small models.
        workers: the workers that share the tasks of every iteration, see :func:`metalearn.workers.join`; each
            makes an equal trainer, and they train :meth:`together`. None for this process only.
        cache: traced programs and results of the check of derivatives, which trainers of the same code with
            the same versions of libraries share, in any process, for example a dict; None for no cache.

    Raises:
        ValueError: if the batch size, a limit or a constant learning rate is not positive, the workers
            cannot share the tasks equally, the optimizer has been used or its parts are not those of phi, the
            carry or the projection is not supported, learner and tasks do not fit, or derivatives of the
            inner loss are wrong.
    """

    derivatives: SecondDerivatives | None
    """The result of the check of derivatives; None if there is none."""

    disagreement: float | None
    """The relative difference of the compiled and eager meta-gradients, known from the first iteration on."""

    def __init__(
        self,
        learner: Learner,
        tasks: Source,
        optimizer: Given,
        meta_batch_size: int = 25,
        seed: int = 0,
        *,
        loss_interval: int = 10,
        clip_task_value: float | None = None,
        clip_task_norm: float | None = None,
        carry: Carry = None,
        projection: Callable[[Meta], Meta] | None = None,
        jit_compile: bool | None = None,
        check_derivatives: bool = True,
        workers: Workers | None = None,
        cache: Cache | None = None,
    ) -> None:
        require_count("meta_batch_size", meta_batch_size)
        require_count("seed", seed, minimum=0)
        require_count("loss_interval", loss_interval)
        clip = Clip(clip_task_value, clip_task_norm)
        clip.require()
        self._workers = workers or Workers()
        self._workers.share(meta_batch_size)
        self.learner, self.tasks, self.optimizer = learner, as_source(tasks), optimizer
        self.meta_batch_size, self.seed, self.iteration = meta_batch_size, seed, 0
        self.last_gradient: Meta | None = None
        self._blocks = Blocks(self.tasks, meta_batch_size, seed, self._workers)
        example, one = self._blocks.example(), self._blocks.one()
        reported = learner.require_fit(one)
        meta = learner.initialize(seed)
        carrying.require_carry(carry, learner, meta, example)
        phi, _ = learner.parts(meta)
        require_projection(projection, phi)
        self._optimizers = Optimizers(optimizer, phi)
        self._carried = begun(learner, meta, example, carry, self._workers)
        self.cache, self.disagreement = cache, None
        posed = learner.posed(meta, counted(one), (seed, 0))
        self._compares = check_derivatives and learner.estimator.second_order and posed.problem.steps > 0
        self._known = Known(None if cache is None else Stored(cache, learner, meta, one), posed)
        self.derivatives = self._known.derivatives() if self._compares else None
        self._program = Program(
            learner,
            self._optimizers,
            phi,
            metrics=list(reported),
            length=self._blocks.length,
            stored=self._blocks.stored,
            clip=clip,
            loss_interval=loss_interval,
            carry=carry,
            projection=projection,
        )
        self._calls = compiled(self._program, self._workers, learner.mapping, jit_compile)

    @property
    def meta(self) -> Meta:
        """The current meta-parameters."""
        return self.learner.whole(self._program.phi(), self._carried.statistics)

    @property
    def mapping(self) -> TaskMapping:
        """How the program maps over tasks; ``"auto"`` may not be resolved before it is built."""
        return self._calls.mapping

    @property
    def jit_compile(self) -> bool | None:
        """Whether the program is compiled with XLA; None may not be resolved before it is built."""
        return self._calls.jit_compile

    def build(self) -> None:
        """Trace the program, or take it from the cache, which the first :meth:`run` does otherwise."""
        self._arguments(Order(1, keep=False))

    def load(self, meta: Meta) -> None:
        """Replace the current meta-parameters, for example with pretrained ones (:func:`metalearn.load`).

        Neither the iteration, and thereby the next tasks, nor the state of the optimizer (moments, schedule),
        nor carried inner loops change. To restart these, make a new trainer.

        Args:
            meta: nested tensors or arrays with the structure of :attr:`meta`.

        Raises:
            ValueError: naming the leaves that are missing, unknown or of another shape or type; nothing is
                changed then.
        """
        phi, statistics = self.learner.parts(matched("meta", meta, self.meta))
        for variable, value in zip(self._optimizers.variables, tf.nest.flatten(phi), strict=True):
            variable.assign(value)
        self._carried = self._carried._replace(statistics=statistics)

    def state(self) -> State:
        """Return the complete state of the training: the contents of a checkpoint."""
        return captured(self.iteration, self._optimizers.named(), self._carried)

    def restore(self, state: State) -> None:
        """Restore a state from a trainer of the same configuration.

        Raises:
            ValueError: naming what is missing, unknown or of another shape or type.
        """
        self.iteration, self._carried = restored(state, self._optimizers.named(), self._carried)

    def run(self, iterations: int, callbacks: Sequence[Callback[MetaTrainer]] = ()) -> History:
        """Train for ``iterations`` more iterations, or until a callback stops the training.

        Callbacks are called between compiled calls of one program: they do not change the result, and nothing
        is compiled for them.

        Args:
            iterations: at least 1.
            callbacks: for example those of :mod:`metalearn.callbacks`.

        Returns:
            The metrics of these iterations, see :data:`metalearn.training.history.History`.

        Raises:
            NonFiniteError: if a loss, a gradient or an update is not finite; ``meta`` and ``iteration`` are
                then those before this iteration, and callbacks have received all earlier rows.
            CallbackError: naming the callback that failed; its exception is the cause.
        """
        require_count("iterations", iterations)
        self.compare()
        end = self.iteration + iterations
        parts = [{name: np.empty(0, np.float32) for name in self._program.metrics}]
        with watching(callbacks, self, end) as ask:
            wanted = ask(None)
            while self.iteration < end and wanted:
                first, began = self.iteration, time.perf_counter()
                count = min(end - first, self._blocks.length - first % self._blocks.length, wanted)
                outcome = self._call(Order(count, keep=True))
                kept, rows = int(outcome.kept), outcome.rows.numpy()
                seconds = time.perf_counter() - began
                parts.append(dict(zip(self._program.metrics, rows[:kept].T, strict=True)))
                self._carried = outcome.carried
                self.iteration += kept
                failed = None
                if kept == count:
                    self.last_gradient = outcome.gradient
                else:
                    culprits = self._program.culprits(outcome, rows[kept], self.iteration)
                    failed = NonFiniteError(self.iteration, culprits, concatenated(parts))
                if kept:
                    wanted = ask(Call(first, parts[-1], seconds))
                if failed is not None:
                    raise failed
        return concatenated(parts)

    def next_update(self) -> tuple[Meta, Meta] | None:
        """Return phi after the next iteration and its meta-gradient, without making the update.

        None if these are not finite.
        """
        outcome = self._call(Order(1, keep=False))
        return (outcome.proposed, outcome.gradient) if bool(outcome.finite) else None

    def training_tasks(self, iteration: int) -> Task:
        """Return the tasks ``[T, N, ...]`` that an iteration (counted from 0) trains on."""
        return self._blocks.at(iteration)

    def together(self) -> AbstractContextManager[bool]:
        """Train with the other workers: ``with trainer.together() as leads: if leads: trainer.run(1000)``.

        Only the chief runs, restores, saves, and has callbacks. The other workers take part in each of its
        calls of the program, and leave the context after it. Without workers, this process is the chief.

        Raises:
            ValueError: if a worker's trainer has another seed, meta-batch size, or other tensors.
            WorkerLostError: if another worker has ended.
        """
        return together(self._workers, (self.seed, self.meta_batch_size), self.state, self._follow)

    def _follow(self, order: Order, state: State | None) -> None:
        if state is not None:
            self.restore(state)
        outcome = self._call(order)
        self._carried, self.iteration = outcome.carried, self.iteration + int(outcome.kept)

    def _call(self, order: Order) -> Outcome:
        give(self._workers, order, self.state)
        return Outcome(*self._calls(self._arguments(order)))

    def _arguments(self, order: Order) -> Arguments:
        """Return the arguments of a call, for which the program is then built."""
        block, carried = self._blocks.of(self.iteration // self._blocks.length), self._carried
        if order.alike:
            block, carried = self._blocks.copies(), carried._replace(inner=copies(carried.inner))
        seed, first = tf.constant(self.seed), tf.constant(self.iteration)
        given = Arguments(block, seed, first, tf.constant(order.iterations), tf.constant(order.keep), carried)
        self._known.build(self._calls, self._program, given)
        return given

    def compare(self) -> None:
        """Compare the compiled meta-gradient with that of eager execution, for copies of one task.

        It is done once, only if derivatives are checked; the first :meth:`run` does it otherwise.

        Raises:
            ValueError: if they differ, with the remedy.
        """
        if self._compares:
            given, size = self._arguments(order := Order(1, keep=False, alike=True)), self.meta_batch_size
            with meanwhile(self._call, order) as outcome:  # it may compile
                tasks = tf.nest.map_structure(lambda leaf: tf.repeat(leaf[0, :1], size, 0), given.block)
                carried = given.carried._replace(estimator=own(given.carried, self._workers).estimator)
                posed = self.learner.posed(self.meta, tasks, (self.seed, 0))
                estimate = functools.partial(self._program.gradient, seed=given.seed, iteration=given.first)
                self.disagreement = disagreement(outcome, estimate, posed, tasks, carried)
            self._compares = False
