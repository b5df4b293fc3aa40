"""Diagnoses of the meta-gradient while a run goes on: between its compiled calls, on the tasks to come."""

from __future__ import annotations

from collections.abc import Callable
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

    It reads the trainer and changes nothing of it: what is trained has the same bits with it and without.

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
        found = ml.diagnostics.diagnose(learner, meta, tasks, seed)
        return {**found, **ml.diagnostics.learned_values(learner, meta)}

    def call() -> int:
        iteration = trainer.iteration
        if iteration % interval == 0:
            seed = tf.constant([trainer.seed, iteration])
            found = diagnose(trainer.meta, trainer.training_tasks(iteration), seed)
            row = {name: float(value) for name, value in found.items()}
            metrics.append(path, iteration, {name: np.array([value]) for name, value in row.items()})
            tracker.diagnosis(iteration, row)
        return interval - iteration % interval

    return call
