"""One meta-gradient of a meta-batch, compiled, by each estimator."""

from __future__ import annotations

import functools

import tensorflow as tf

import metalearn as ml
from metalearn.estimators.protocol import Estimator

from .workload import INNER_RATE, QUERIES, SHOTS, TASKS, Program

CALLS = 20


def _build(estimator: Estimator, steps: int, width: int, *, proximal: float = 0.0) -> Program:
    model = ml.models.mlp(hidden=(width, width))
    rule = ml.rules.sgd(INNER_RATE)
    learner = ml.MetaLearner(model, ml.losses.mse, rule, steps, estimator=estimator, proximal=proximal)
    meta, batch = learner.initialize(0), ml.tasks.Sinusoid(SHOTS, QUERIES).sample((0, 0), TASKS)
    gradient = tf.function(
        lambda meta, batch: learner.meta_gradient(meta, batch)[:2], jit_compile=True, autograph=False
    )

    def run() -> float:
        for _ in range(CALLS):
            loss, _ = gradient(meta, batch)
        return float(tf.reduce_mean(loss))

    return Program(run, CALLS)


checkpointed = functools.partial(_build, ml.estimators.checkpointed())
unrolled = functools.partial(_build, ml.estimators.unrolled())
truncated = functools.partial(_build, ml.estimators.truncated(window=1))
first_order = functools.partial(_build, ml.estimators.first_order())
reptile = functools.partial(_build, ml.estimators.reptile())
implicit = functools.partial(_build, ml.estimators.implicit(), proximal=2.0)
