"""Every algorithm of ``conf/algorithm``: its gradient, adapted parameters and learned parameters."""

import dataclasses
import json

import hydra
import numpy as np
import pytest
import tensorflow as tf
from omegaconf import OmegaConf

import metalearn as ml
from experiments.harness.config.build import build, build_learner, build_tasks
from experiments.harness.config.schema import check
from experiments.harness.config.trust import CONFIGS
from metalearn.nn.adapted import select
from tests.experiments.small_runs import quick_programs

ALGORITHMS = sorted(path.stem for path in (CONFIGS / "algorithm").glob("*.yaml"))

SMALL = ["model.hidden=[5]", "model.activation=tanh", "learner.steps=2"]


CLASSES = ("lr_d2", "matching", "metaoptnet", "proto_maml", "protonet")
"""Algorithms that have a meaning for classes alone."""

OFTEN = ("maml", "reptile", "protonet")
"""Algorithms that are tried by default. The parts of all others have tests of their own in the library."""

PARAMETERS = [pytest.param(name, marks=[] if name in OFTEN else pytest.mark.slow) for name in ALGORITHMS]


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quick_programs():
        yield


@pytest.fixture(scope="module", params=PARAMETERS)
def config(request):
    """Return the resolved configuration of an algorithm, on a small smooth model."""
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        # Name and label of a run ask Hydra for what was chosen, which only a command has.
        overrides = [f"algorithm={request.param}", "name=test", "label=test", *SMALL]
        if request.param in CLASSES:
            overrides += ["model.output_size=2", "learner.loss=cross_entropy"]
        composed = hydra.compose("train", overrides=overrides)
    resolved = OmegaConf.to_container(composed, resolve=True)
    check(resolved)
    return resolved


@dataclasses.dataclass(frozen=True)
class Double:
    """Tasks in float64, with two classes if the loss needs classes."""

    tasks: ml.tasks.Source
    classes: bool

    def sample(self, seed, tasks):
        drawn = self.tasks.sample(seed, tasks)
        double = tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.float64), drawn)
        if not self.classes:
            return double
        parts = {name: getattr(double, name) for name in ("support", "query")}
        return double._replace(**{name: self.labelled(part) for name, part in parts.items()})

    def labelled(self, batch):
        tasks, examples = batch.targets.shape[:2]
        return batch._replace(targets=tf.tile(tf.range(examples)[None] % 2, [tasks, 1]))


@pytest.fixture(scope="module")
def by_nested_tapes(in_graph):
    """Return a function that computes the gradient of a configuration with any estimator, with a cache."""
    found = {}

    def compute(config, meta, tasks):
        key = json.dumps([config[part] for part in ("task", "model", "rule", "learner")])
        if key not in found:
            learner = build_learner({**config, "estimator": {"_target_": "metalearn.estimators.unrolled"}})
            found[key] = in_graph(learner.meta_gradient)(meta, tasks).gradient
        return found[key]

    return compute


def test_an_iteration_is_right_and_moves_what_it_should(config, by_nested_tapes, as_vector):
    """Inner and outer loop change exactly their parameters, and gradients of exact estimators are right.

    They equal those of nested tapes to 1e-9 in float64; others are finite and correctly declare that they are
    not exact.
    """
    double = {**config, "model": {**config["model"], "dtype": "float64"}}
    learner = build_learner(double)
    distribution = Double(build_tasks(config), config["learner"]["loss"] == "cross_entropy")
    optimizer = build(config["optimizer"], "optimizer")
    options = {"jit_compile": False, "check_derivatives": False}  # what is compared here is more than they
    trainer = ml.MetaTrainer(learner, distribution, optimizer, meta_batch_size=2, **options)
    before = trainer.meta
    trainer.run(1)
    found = as_vector(trainer.last_gradient)
    tasks = trainer.training_tasks(0)
    expected = as_vector(by_nested_tapes(double, before, tasks))
    assert np.isfinite(found).all()
    if learner.estimator.exact:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.linalg.norm(expected))
    else:
        assert np.abs(found - expected).max() > 1e-9

    keys = list(ml.functional.parameters(learner.model))
    fitted = learner.adapt(before, tasks.support).parameters
    assert set(fitted) == set(keys)
    # Context parameters and heads that are solved for, which are no meta-parameters, are given as zero.
    moved = {key for key in keys if np.any(fitted[key] != before["parameters"].get(key, 0.0))}
    assert moved == set(select(config["learner"]["adapted"], keys))

    solved = ml.heads.linear_head(learner.model) if learner.head else ()
    given = {key for key in keys if key.startswith("context/") or key in solved}
    assert set(before["parameters"]) == set(keys) - given
    trainer.run(2)
    learns = config["estimator"]["_target_"] != "metalearn.estimators.frozen"
    for old, new in zip(*map(tf.nest.flatten, (before, trainer.meta)), strict=True):
        assert np.any(old != new) == learns
