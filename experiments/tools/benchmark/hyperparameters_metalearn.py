"""The workloads of bilevel problems in this package, with losses and norms of each iteration."""

from __future__ import annotations

import keras

import metalearn as ml

from .hyperparameters import BATCH, CLASSES, FEATURES, PENALTIES, WEIGHTS, Examples, Rates, examples
from .workload import Program

ITERATIONS = 500


def penalties(steps: int, size: int) -> Program:
    """Return the training loop of a penalty for each feature."""
    learner = ml.problems.logistic(FEATURES, ml.rules.sgd(PENALTIES.inner), steps)
    return _program(learner, examples(size), PENALTIES)


def weights(steps: int, size: int) -> Program:
    """Return the training loop of a weight for each example."""
    layer = keras.layers.Dense(CLASSES, kernel_initializer="zeros")  # as other libraries start
    model = keras.Sequential([keras.Input([FEATURES]), layer])
    rule = ml.rules.sgd(WEIGHTS.inner)
    learner = ml.problems.cleaning(model, size // 2, rule, steps, batch=BATCH)
    return _program(learner, examples(size, CLASSES), WEIGHTS)


def _program(learner: ml.BilevelLearner, given: Examples, rates: Rates) -> Program:
    tasks = ml.tasks.dataset(ml.Task(given[:2], given[2:]))
    optimizer = keras.optimizers.SGD(rates.outer, momentum=0.9)
    trainer = ml.MetaTrainer(learner, tasks, optimizer, meta_batch_size=1, check_derivatives=False)
    return Program(lambda: float(trainer.run(ITERATIONS)["outer/loss"][-1]), ITERATIONS)
