"""Every algorithm of ``conf/algorithm``, found by its YAML: its gradient, what it adapts, what it learns."""

import json

import hydra
import numpy as np
import pytest
import tensorflow as tf
from omegaconf import OmegaConf

import metalearn as ml
from experiments.harness.build import build_learner, build_tasks, build_trainer
from experiments.harness.cli import CONFIGS
from experiments.harness.settings import check
from metalearn.adapted import select
from metalearn.estimators.protocol import as_estimator

ALGORITHMS = sorted(path.stem for path in (CONFIGS / "algorithm").glob("*.yaml"))

SMALL = ["model.hidden=[5]", "model.activation=tanh", "learner.steps=2"]
SMALL += ["training.meta_batch_size=3", "training.jit_compile=false"]


@pytest.fixture(scope="module", params=ALGORITHMS)
def config(request):
    """Return the resolved configuration of an algorithm, on a small smooth model."""
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        # The name of a run asks Hydra for the task chosen, which only a command has.
        overrides = [f"algorithm={request.param}", "name=test", *SMALL]
        composed = hydra.compose("train", overrides=overrides)
    resolved = OmegaConf.to_container(composed, resolve=True)
    check(resolved)
    return resolved


@pytest.fixture(scope="module")
def by_nested_tapes(in_graph):
    """Return a function that gives the gradient of a configuration whatever its estimator, each once."""
    found = {}

    def compute(config, meta, tasks):
        key = json.dumps([config[part] for part in ("task", "model", "rule", "learner")])
        if key not in found:
            learner = build_learner({**config, "estimator": {"_target_": "metalearn.estimators.unrolled"}})
            found[key] = in_graph(learner.meta_gradient)(meta, tasks).gradient
        return found[key]

    return compute


def test_exact_estimators_are_exact(config, by_nested_tapes, as_vector, in_graph):
    """In float64, against nested tapes, to 1e-9; others are finite and say that they are not exact."""
    double = {**config, "model": {**config["model"], "dtype": "float64"}}
    learner = build_learner(double)
    meta = learner.initialize(0)
    drawn = build_tasks(config).sample((0, 0), 2)
    tasks = tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.float64), drawn)
    found = as_vector(in_graph(learner.meta_gradient)(meta, tasks).gradient)
    expected = as_vector(by_nested_tapes(double, meta, tasks))
    assert np.isfinite(found).all()
    if as_estimator(learner.estimator).exact:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.linalg.norm(expected))
    else:
        assert np.abs(found - expected).max() > 1e-9


def test_a_step_moves_what_it_should_and_nothing_else(config):
    """Inside, the adapted parameters; outside, every meta-parameter: those of the model, of the rule."""
    trainer = build_trainer(config)
    learner, before = trainer.learner, trainer.meta
    keys = list(ml.functional.parameters(learner.model))
    adapted = select(config["learner"]["adapted"], keys)
    tasks = build_tasks(config).sample((0, 0), 2)
    fitted = learner.adapt(before, tasks.support).parameters
    assert set(fitted) == set(keys)
    # Context parameters, which are no meta-parameters, start at zero.
    moved = {key for key in keys if np.any(fitted[key] != before["parameters"].get(key, 0.0))}
    assert moved == set(adapted)

    assert set(before["parameters"]) == {key for key in keys if not key.startswith("context/")}
    trainer.run(3)
    for old, new in zip(*map(tf.nest.flatten, (before, trainer.meta)), strict=True):
        assert np.any(old != new)
