"""The workload in this package, as ``experiments.train`` runs it, with losses and norms."""

from __future__ import annotations

import keras

import metalearn as ml

from ...harness.cache import traced
from .workload import AMPLITUDE, INNER_RATE, INPUTS, OUTER_RATE, PHASE, Program, Size

LOSS_INTERVAL = 10
"""The learning rates of ``conf/training/default.yaml``."""


def build(steps: int, size: int | Size) -> Program:
    """Return the training loop."""
    size = size if isinstance(size, Size) else Size(size)
    model = ml.models.mlp(hidden=(size.width,) * size.depth)
    learner = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(INNER_RATE), steps=steps)
    tasks = ml.tasks.Sinusoid(size.examples, size.examples, AMPLITUDE, PHASE, INPUTS)
    cache = traced.stored({"steps": steps, **size._asdict()})  # None unless a start is measured
    adam = keras.optimizers.Adam(OUTER_RATE)
    trainer = ml.MetaTrainer(
        learner, tasks, adam, meta_batch_size=size.tasks, loss_interval=LOSS_INTERVAL, cache=cache
    )
    return Program(lambda: float(trainer.run(size.iterations)["outer/loss"][-1]), size.iterations)
