"""Meta-training: many iterations in one compiled call."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.inner_loop import counted
from metalearn.nest import matched
from metalearn.problems.learner import Learner
from metalearn.problems.second_derivatives import SecondDerivatives, check_second_derivatives
from metalearn.sources import Source, as_source
from metalearn.training import carrying
from metalearn.training.agreement import alike, disagreement
from metalearn.training.blocks import Blocks
from metalearn.training.calling import Call, Callback, watching
from metalearn.training.carrying import Carry
from metalearn.training.combine import Clip
from metalearn.training.errors import History, NonFiniteError
from metalearn.training.following import Order, give, together
from metalearn.training.optimizers import Given, Optimizers
from metalearn.training.program import Outcome, Program
from metalearn.training.projection import require_projection
from metalearn.training.sharded import begun, compiled, own
from metalearn.training.state import State, captured, restored
from metalearn.training.workers import Workers
from metalearn.types import Meta, Task, TaskMapping


class MetaTrainer:
    """Moves meta-parameters along the meta-gradient with a Keras optimizer.

    Iteration i uses tasks that depend on ``(seed, i)`` only, so a run may be cut into calls of :meth:`run`
    anywhere, and continued from :meth:`state`, and ends with the same bits.

    Args:
        learner: what computes the meta-gradient: a ``MetaLearner``, a ``BilevelLearner``, or any
            :class:`metalearn.problems.learner.Learner`.
        tasks: source of the training tasks, or what :func:`metalearn.tasks.as_source` makes one of.
        optimizer: an unused Keras optimizer, whose schedules and clipping apply; or a dict with one for each
            top-level part of phi, ``{"parameters": ..., "rule": ...}``.
        meta_batch_size: T, tasks of an iteration.
        seed: of the initial meta-parameters and of the tasks.
        loss_interval: iterations between those with the losses before and after adaptation: they take passes
            of their own. Rows between have NaN for them; the loss that is minimised is in all.
        clip_task_value: largest entry of a task's meta-gradient, see
            :func:`metalearn.training.combine.mean_of_clipped`; None for no limit. The optimizer's
            ``clipnorm`` and ``clipvalue`` clip the mean over tasks.
        clip_task_norm: largest length of a task's meta-gradient; None for no limit.
        carry: how many iterations an inner loop is carried through before it starts anew, ``"forever"``, or
            None: each iteration starts anew. A carried loop goes on from the parameters and states that the
            iteration before ended with, task by task, and its steps count on.
        projection: ``phi -> phi``, applied after each update: onto a feasible set. It has to keep structure,
            shapes and types.
        jit_compile: compile with XLA; None for what can be built and is fast, see
            :class:`metalearn.execution.compiled.Compiled`.
        check_derivatives: whether to hold the derivatives that a second-order estimator takes to differences,
            see :func:`metalearn.problems.check_second_derivatives`, and the compiled meta-gradient to eager
            execution before the first iteration. It takes less than a second for small models.
        workers: that share the tasks of every iteration, see :func:`metalearn.workers.join`; each makes an
            equal trainer, and they train :meth:`together`. None for this process alone.

    Raises:
        ValueError: if the batch size, a limit or a constant learning rate is not positive, the workers
            cannot share the tasks, the optimizer has been used or its parts are not those of phi, the carry
            or the projection has no meaning here, learner and tasks do not fit, or derivatives of the inner
            loss are wrong.
    """

    derivatives: SecondDerivatives | None
    """What the check of derivatives found; None where there is none."""

    disagreement: float | None
    """Relative difference of compiled and eager meta-gradient, known from the first iteration on."""

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
        self._blocks = Blocks(self.tasks, meta_batch_size, seed)
        example, one = self._blocks.example(), self._blocks.one()
        reported = learner.require_fit(one)
        meta = learner.initialize(seed)
        carrying.require_carry(carry, learner, meta, example)
        phi, _ = learner.parts(meta)
        require_projection(projection, phi)
        self._optimizers = Optimizers(optimizer, phi)
        self._carried = begun(learner, meta, example, carry, self._workers)
        self.disagreement = None
        posed = learner.posed(meta, counted(one), (seed, 0))
        self._compares = check_derivatives and learner.estimator.second_order and posed.problem.steps > 0
        self.derivatives = check_second_derivatives(posed) if self._compares else None
        self._program = Program(
            learner,
            self._optimizers,
            phi,
            metrics=list(reported),
            seed=seed,
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
        """The meta-parameters now."""
        return self.learner.whole(self._program.phi(), self._carried.statistics)

    @property
    def mapping(self) -> TaskMapping:
        """How the program maps over tasks; ``"auto"`` before it is built."""
        return self._calls.mapping

    @property
    def jit_compile(self) -> bool | None:
        """Whether the program is compiled with XLA; None where that shows when it is built."""
        return self._calls.jit_compile

    def build(self) -> None:
        """Trace the program, as the first :meth:`run` does otherwise."""
        self._calls.build(*self._arguments(Order(1, keep=False)))

    def load(self, meta: Meta) -> None:
        """Put meta-parameters in the place of those now, such as pretrained ones (:func:`metalearn.load`).

        Nothing else changes: not the iteration, and so the tasks to come, nor the state of the optimizer
        (moments of gradients, schedule), nor inner loops that are carried. Before the first iteration that is
        all fresh; for a fresh one later, make a new trainer.

        Args:
            meta: as :attr:`meta`: nested tensors or arrays.

        Raises:
            ValueError: naming the leaves that are missing, unknown or of another shape or type; nothing is
                changed then.
        """
        phi, statistics = self.learner.parts(matched("meta", meta, self.meta))
        for variable, value in zip(self._optimizers.variables, tf.nest.flatten(phi), strict=True):
            variable.assign(value)
        self._carried = self._carried._replace(statistics=statistics)

    def state(self) -> State:
        """Return all that training needs to go on from here: the contents of a checkpoint."""
        return captured(self.iteration, self._optimizers.named(), self._carried)

    def restore(self, state: State) -> None:
        """Go on from a state that a trainer of the same configuration returned.

        Raises:
            ValueError: naming what is missing, unknown or of another shape or type.
        """
        self.iteration, self._carried = restored(state, self._optimizers.named(), self._carried)

    def run(self, iterations: int, callbacks: Sequence[Callback[MetaTrainer]] = ()) -> History:
        """Train for ``iterations`` more iterations, or until a callback stops the training.

        Callbacks are called between the compiled calls of one program: they change no bit of what is trained,
        and nothing is compiled for them.

        Args:
            iterations: at least 1.
            callbacks: such as those of :mod:`metalearn.callbacks`.

        Returns:
            For each metric an array with one row an iteration: ``outer/loss`` (the meta-loss, mean over the
            tasks), ``inner/loss``, ``outer/loss_before`` and ``inner/loss_before`` (support loss after
            adaptation, query and support loss before it, in one row of ``loss_interval``),
            ``meta_gradient/norm`` in total and per variable, ``learning_rate`` (of the optimizer, or
            ``learning_rate/<part>``), ``outer/<metric>`` of what the outer loss reports,
            ``residual/<name>`` of what the estimator does.

        Raises:
            NonFiniteError: if a loss, a gradient or an update is not finite; ``meta`` and ``iteration`` are
                then those before the failing iteration, and callbacks have had all rows before it.
            CallbackError: naming the callback that has failed; its error is the cause.
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
                    failed = NonFiniteError(self.iteration, culprits, _concatenate(parts))
                if kept:
                    wanted = ask(Call(first, parts[-1], seconds))
                if failed is not None:
                    raise failed
        return _concatenate(parts)

    def next_update(self) -> tuple[Meta, Meta] | None:
        """Return phi after the next iteration and its gradient, without making it.

        None if something is not finite there.
        """
        outcome = self._call(Order(1, keep=False))
        return (outcome.proposed, outcome.gradient) if bool(outcome.finite) else None

    def training_tasks(self, iteration: int) -> Task:
        """Return the tasks ``[T, N, ...]`` that an iteration (counted from 0) trains on."""
        return self._blocks.at(iteration)

    def together(self) -> AbstractContextManager[bool]:
        """Train with the other workers: ``with trainer.together() as leads: if leads: trainer.run(1000)``.

        The chief alone runs, restores, saves, and has callbacks. Others make each of its calls of the program
        with it, and leave the context when it has; without any, it leads nobody.

        Raises:
            ValueError: if a worker's trainer has another seed, meta-batch size, or other tensors.
            WorkerLostError: if another worker has ended.
        """
        return together(self._workers, (self.seed, self.meta_batch_size), self.state, self._follow)

    def _follow(self, order: Order, state: State) -> None:
        self.restore(state)
        outcome = self._call(order)
        self._carried, self.iteration = outcome.carried, self.iteration + int(outcome.kept)

    def _call(self, order: Order) -> Outcome:
        give(self._workers, order, self.state)
        return Outcome(*self._calls(*self._arguments(order)))

    def _arguments(self, order: Order) -> tuple[Any, ...]:
        block, carried = self._blocks.of(self.iteration // self._blocks.length), self._carried
        if order.alike:
            block, carried = alike(block, carried)
        numbers = [tf.constant(each) for each in (self.iteration, order.iterations, order.keep)]
        return block, *numbers, carried

    def compare(self) -> None:
        """Hold the compiled meta-gradient to eager execution's, for copies of one task.

        Once, and only where derivatives are checked; :meth:`run` does it where it has not been done.

        Raises:
            ValueError: if they differ, with the remedy.
        """
        if not self._compares:
            return
        outcome = self._call(order := Order(1, keep=False, alike=True))
        block, *_, carried = self._arguments(order)
        tasks = tf.nest.map_structure(lambda leaf: leaf[0], block)
        carried = carried._replace(estimator=own(carried, self._workers).estimator)
        estimate = functools.partial(self._program.gradient, iteration=tf.constant(self.iteration))
        posed = self.learner.posed(self.meta, tasks, (self.seed, 0))
        self.disagreement = disagreement(outcome.gradient, estimate, posed, tasks, carried)
        self._compares = False


def _concatenate(parts: list[History]) -> History:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
