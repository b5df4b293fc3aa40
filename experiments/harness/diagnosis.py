"""Diagnoses of the meta-gradient while a run goes on: between its compiled calls, on the tasks to come."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import tensorflow as tf

import metalearn as ml
from experiments.harness import metrics
from experiments.harness.tracking import Tracker
from metalearn.types import Meta, Task


def diagnoses(
    trainer: ml.MetaTrainer, path: Path, tracker: Tracker, interval: int | None
) -> Callable[[], int | None]:
    """Return what to call before a call of the trainer: it diagnoses if that is due.

    It leaves the trainer as it was: what is trained has the same bits with it and without. Its program is
    one of its own, made at the first diagnosis.

    Args:
        trainer: that trains.
        path: of a CSV file, to which a row is appended for every diagnosis.
        tracker: gets the same row.
        interval: iterations between diagnoses; None for none.

    Returns:
        A function that returns how many iterations there are before the next diagnosis; None for no limit.
    """
    if interval is None:
        return lambda: None
    learner = trainer.learner

    # In a graph without XLA: it is called rarely, and compiling takes longer than is ever saved.
    @tf.function(autograph=False)
    def diagnose(meta: Meta, tasks: Task, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return ml.diagnostics.diagnose(learner, meta, tasks, seed)

    def call() -> int:
        iteration = trainer.iteration
        if iteration % interval == 0:
            seed = tf.constant([trainer.seed, iteration])
            found = diagnose(trainer.meta, trainer.training_tasks(iteration), seed)
            learned = ml.diagnostics.learned_values(learner, trainer.meta)
            found = {**found, **ml.diagnostics.learned_statistics(learned), **next_update(trainer)}
            row = {name: float(value) for name, value in found.items()}
            metrics.append(path, iteration, {name: np.array([value]) for name, value in row.items()})
            tracker.diagnosis(iteration, row, {name: value.numpy() for name, value in learned.items()})
        return interval - iteration % interval

    return call


def next_update(trainer: ml.MetaTrainer) -> dict[str, tf.Tensor]:
    """Return :func:`metalearn.diagnostics.update_ratios` of the update that a trainer is about to make.

    It is made, and taken back: NaN if it cannot be made, as something is not finite.
    """
    state, before, last = trainer.state(), trainer.meta, trainer.last_gradient
    after = gradient = tf.nest.map_structure(lambda leaf: leaf * np.nan, before)
    with suppress(ml.NonFiniteError):
        trainer.run(1)
        after, gradient = trainer.meta, trainer.last_gradient or gradient
    trainer.restore(state)
    trainer.last_gradient = last
    return ml.diagnostics.update_ratios(before, after, gradient)
