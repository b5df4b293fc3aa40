"""The workload in this package, as ``experiments.train`` runs it, with losses and norms of each iteration."""

from __future__ import annotations

import keras

import metalearn as ml

from .workload import (
    AMPLITUDE,
    INNER_RATE,
    INPUTS,
    OUTER_RATE,
    PHASE,
    QUERIES,
    SHOTS,
    TASKS,
    Program,
)

ITERATIONS = 1000


def build(steps: int, width: int) -> Program:
    """Return the training loop."""
    learner = ml.MetaLearner(
        ml.models.mlp(hidden=(width, width)), ml.losses.mse, ml.rules.sgd(INNER_RATE), steps=steps
    )
    tasks = ml.tasks.Sinusoid(SHOTS, QUERIES, AMPLITUDE, PHASE, INPUTS)
    trainer = ml.MetaTrainer(learner, tasks, keras.optimizers.Adam(OUTER_RATE), meta_batch_size=TASKS)
    return Program(lambda: float(trainer.run(ITERATIONS)["outer/loss"][-1]), ITERATIONS)
