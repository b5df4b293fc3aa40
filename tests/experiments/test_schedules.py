"""A learned rate for each of 10 000 steps: the published results."""

import hydra
import numpy as np
import pytest
import tensorflow as tf
from omegaconf import OmegaConf

import metalearn as ml
from experiments.harness.config.build import build_tasks, build_trainer
from experiments.harness.config.schema import check
from experiments.harness.config.trust import CONFIGS
from experiments.harness.report.table import interval

SEEDS, TRIED = range(5), 140
"""Trainings that each baseline is tuned with: 2 x 140 forward passes, as long as 40 gradients of 7 each."""


def composed(seed):
    options = [f"seed={seed}", f"task.seed={seed}", "label=test"]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        found = hydra.compose("train", ["experiment=horizon/schedule", *options])
    return check(OmegaConf.to_container(found, resolve=True))


@pytest.mark.slow
def test_learned_rates_leave_out_wrong_labels():
    """Over five seeds, test losses of learned rates are below those of the best constant and cosine.

    The 95 % t intervals of the differences over seeds are below 0. The baselines are tuned with the outer
    loss, like the schedule, and with as many forward passes; the evaluation has other initial weights.
    """
    pytest.importorskip("sklearn")
    found = {"learned": [], "constant": [], "cosine": []}
    for seed in SEEDS:
        config = composed(seed)
        trainer, steps = build_trainer(config), config["learner"]["steps"]
        shapes = {"constant": np.ones(steps), "cosine": (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2}
        parts = {name: build_tasks(config, name) for name in ("task", "evaluation.task")}

        def last(rates, part, trainer=trainer, parts=parts, steps=steps):
            meta = {"rule": {"learning_rate": tf.constant(np.log(np.maximum(rates, 1e-12)), tf.float32)}}
            result = ml.evaluate(trainer.learner, meta, parts[part], 1, steps, seed=1)
            return result.mean[-1], result.metrics["accuracy"].mean[-1]

        trainer.run(config["training"]["iterations"])
        rates = np.exp(trainer.meta["rule"]["learning_rate"].numpy())
        found["learned"].append(last(rates, "evaluation.task"))
        for name, shape in shapes.items():
            tried = np.geomspace(0.003, 0.3, TRIED)
            best = tried[np.nanargmin([last(rate * shape, "task")[0] for rate in tried])]
            found[name].append(last(best * shape, "evaluation.task"))
            print(seed, name, f"{best:.4f}")  # noqa: T201
    losses = {name: np.array(values)[:, 0] for name, values in found.items()}
    for name, values in found.items():
        print(name, np.round(values, 4).tolist())  # noqa: T201
    for name in ("constant", "cosine"):
        difference = losses["learned"] - losses[name]
        half = interval(len(SEEDS), difference.std(ddof=1))
        print("learned minus", name, f"{difference.mean():.4f} ± {half:.4f}")  # noqa: T201
        assert difference.mean() + half < 0
