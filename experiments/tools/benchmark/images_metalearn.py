"""The workload of images in this package, with losses and norms of each iteration."""

from __future__ import annotations

import keras

import metalearn as ml

from .images import FILTERS, INNER_RATE, ITERATIONS, OUTER_RATE, QUERIES, SIZE, TASKS, WAYS, characters
from .workload import Program


def build(steps: int, shots: int) -> Program:
    """Return the training loop."""
    model = ml.models.conv4((SIZE, SIZE, 1), WAYS, FILTERS)
    learner = ml.MetaLearner(
        model, ml.losses.cross_entropy, ml.rules.sgd(INNER_RATE), steps, statistics="batch"
    )
    tasks = ml.tasks.FewShot(characters(), WAYS, shots, QUERIES)
    trainer = ml.MetaTrainer(
        learner, tasks, keras.optimizers.Adam(OUTER_RATE), TASKS, check_derivatives=False
    )
    return Program(lambda: float(trainer.run(ITERATIONS)["outer/loss"][-1]), ITERATIONS)
