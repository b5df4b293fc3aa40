"""The experiments of learned optimizers: every page, a killed run, and the published results."""

import json
import os
import signal
import subprocess
import sys

import hydra
import numpy as np
import pytest
import tensorflow as tf
from omegaconf import OmegaConf

import metalearn as ml
from experiments.harness.config.build import build, build_learner, build_tasks, build_trainer
from experiments.harness.config.schema import check
from experiments.harness.config.trust import CONFIGS
from experiments.harness.report.table import interval
from experiments.harness.runs.rundir import RunDirectory
from tests.experiments.small_runs import content

PAGES = sorted(path.stem for path in (CONFIGS / "experiment" / "learned_optimizer").glob("*.yaml"))


RATES = {
    "digits": {
        "sgd": (0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
        "momentum": (0.03, 0.05, 0.1, 0.15, 0.2, 0.3),
        "adam": (0.01, 0.02, 0.03, 0.05, 0.07, 0.1),
        "adam, cosine": (0.02, 0.03, 0.05, 0.07, 0.1, 0.15),
    },
    "quadratics": {
        "sgd": (0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
        "momentum": (0.03, 0.05, 0.1, 0.15, 0.2, 0.3),
        "adam": (0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
        "adam, cosine": (0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
    },
}
"""What is tried of each rule, on as many validation problems as evaluation has; with ``cosine`` rates fall to
0 at the end of the horizon."""

SEEDS = range(5)


def composed(page, *overrides):
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        found = hydra.compose("train", [f"experiment=learned_optimizer/{page}", "label=test", *overrides])
    return check(OmegaConf.to_container(found, resolve=True))


def losses(config, learner, metas, part="evaluation"):
    """Return the mean loss after each step of a part, of pairs of the problems' seed and phi."""
    tasks, steps, count = build_tasks(config, f"{part}.task"), config[part]["steps"], config[part]["tasks"]
    return [ml.evaluate(learner, meta, tasks, count, steps, seed=10 + seed).mean for seed, meta in metas]


def learned(page, *overrides):
    """Return the losses of five optimizers, learned from streams of problems that share none."""
    config = composed(page, *overrides)
    trainer, count = build_trainer(config), config["training"]["iterations"]
    start, metas = trainer.state(), []
    for seed in SEEDS:
        # One trainer for all, since building its program takes as long as a training.
        trainer.restore({**start, "iteration": np.int64(seed * count)})
        trainer.run(count)
        metas.append((seed, trainer.meta))
    return np.array(losses(config, trainer.learner, metas))


def tuned(page, rule, *overrides):
    """Return the losses of a rule with the rate that is best on validation problems, and the rates."""
    name, _, falling = rule.partition(", ")
    steps = composed(page)["learner"]["steps"]
    stepwise = [f"+rule.learning_rate.steps={steps}"] if falling else []
    scale = np.cos(np.pi * np.arange(steps) / steps / 2) ** 2 if falling else np.ones([])
    config = composed(f"{page}_tuned", f"rule={name}", *stepwise, *overrides)
    learner, rates = build_learner(config), RATES[page][rule]
    logarithms = [tf.constant(np.log(rate * scale), tf.float32) for rate in rates]
    tried = [{"rule": {"learning_rate": each}} for each in logarithms]
    chosen = []
    for seed in SEEDS:
        found = losses(config, learner, [(100 + seed, meta) for meta in tried], "validation")
        chosen.append(int(np.argmin([curve[-1] for curve in found])))
    metas = [(seed, tried[index]) for seed, index in zip(SEEDS, chosen, strict=True)]
    return np.array(losses(config, learner, metas)), [rates[index] for index in chosen]


@pytest.mark.slow
@pytest.mark.parametrize("page", RATES)
def test_a_learned_optimizer_is_better_than_tuned_adam_within_its_horizon(page):
    """On held-out problems, the learned optimizer's loss is below tuned Adam's over five seeds.

    The 95 % t interval of the difference is below 0. ``-s`` shows all losses, including those of decaying
    rates and beyond the horizon.
    """
    if page == "digits":
        pytest.importorskip("sklearn")
    steps, found = composed(page)["learner"]["steps"], {"learned": learned(page)}
    for rule in RATES[page]:
        found[rule], rates = tuned(page, rule)
        print(rule, rates)  # noqa: T201
    for step in [at for at in (steps, 2 * steps, 5 * steps, 10 * steps) if at < found["learned"].shape[1]]:
        for name, curves in found.items():
            for what, values in (("", curves), ("learned minus ", found["learned"] - curves)):
                half = interval(len(SEEDS), values[:, step].std(ddof=1))
                print(step, f"{what}{name} {values[:, step].mean():.4f} ± {half:.4f}")  # noqa: T201
    difference = (found["learned"] - found["adam"])[:, steps]
    assert difference.mean() + interval(len(SEEDS), difference.std(ddof=1)) < 0


@pytest.mark.parametrize("page", PAGES)
def test_every_page_makes_a_learner(page):
    """Every page, also with the rules of the baselines, gives a learner."""
    rules = ("sgd", "momentum", "adam") if page.endswith("_tuned") else (None,)
    for rule in rules:
        learner = build_learner(composed(page, *([] if rule is None else [f"rule={rule}"])))
        assert "learning_rate" in learner.initialize(0)["rule"]


@pytest.mark.parametrize("name", ["learned_mlp", "learned_rnn", "hypergradient"])
def test_pages_of_rules_have_all_settings(name):
    node = OmegaConf.to_container(OmegaConf.load(CONFIGS / "rule" / f"{name}.yaml"))
    rule = build(node, "rule")
    assert type(rule).__name__ == name
    assert set(vars(rule)) == set(node) - {"_target_"}


@pytest.mark.slow
def test_killed_while_learning_online_it_ends_with_equal_bits(tmp_path):
    """Online learning that is killed twice within an inner loop has the bits of an uninterrupted run."""
    random, classes = np.random.default_rng(0), np.arange(90) % 10
    inputs = random.normal(size=(10, 64))[classes] + 0.1 * random.normal(size=(90, 64))
    np.savez(tmp_path / "blots.npz", inputs=inputs, targets=classes)
    arguments = ["experiment=learned_optimizer/online", f"task.path={tmp_path / 'blots.npz'}"]
    arguments += ["task.sizes=[50,20,10,10]", "training.iterations=3000", "training.jit_compile=false"]
    arguments += ["tracking=none", "run.checkpoint_seconds=0.01", "run.check_derivatives=false"]
    command = [sys.executable, "-m", "experiments.train", *arguments]
    environment = {**os.environ, "PYTHONPATH": ".", "PYTHONUNBUFFERED": "1"}

    def ended(runs, kills):
        for _ in range(kills):
            told = {"env": environment, "stdout": subprocess.PIPE}
            with subprocess.Popen([*command, f"paths.runs={runs}"], **told) as started:
                next(line for line in started.stdout if line.startswith(b"iteration "))
                started.kill()
            assert started.returncode == -signal.SIGKILL
        subprocess.run([*command, f"paths.runs={runs}"], env=environment, check=True, capture_output=True)
        (path,) = (runs / "online").iterdir()
        return RunDirectory(path)

    killed = ended(tmp_path / "killed", 2)
    assert len(json.loads(killed.manifest.read_text())["resumed"]) == 2
    assert content(killed) == content(ended(tmp_path / "whole", 0))
