"""Every task of ``conf/task`` from the command line fits the model and has the right reference losses."""

import json
import math
import sys

import numpy as np
import pytest
from omegaconf import OmegaConf

import metalearn as ml
from experiments import evaluate, train
from experiments.harness.app.application import run_application
from experiments.harness.config.build import build, build_learner, build_tasks
from experiments.harness.config.preparation import tasks_of
from experiments.harness.config.schema import resolve
from experiments.harness.config.trust import CONFIGS
from experiments.harness.session.pictures import REFERENCES

EVERY = sorted(path.stem for path in (CONFIGS / "task").glob("*.yaml"))

OTHERS = (
    "bandit",
    "cart_pole",
    "digits",
    "glyphs",
    "image_folder",
    "linear_model",
    "mini_imagenet",
    "navigation",
    "omniglot",
    "quadratics",
    "ring",
    "tabular",
)
"""Tasks that go with a model of images, or with a problem: they have pages in ``conf/experiment``."""

NAMES = [name for name in EVERY if name not in OTHERS]

BEST = {
    "multimodal": lambda x: -2.55 * (2 / math.pi) * np.cos(x) / 5,
    "sinusoid": lambda x: -2.55 * (2 / math.pi) * np.cos(x),
    "step": lambda x: np.clip(x / 2.5, -1, 1),
}
"""Predictors that do not adapt, where it is not the one that says 0."""


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs an application as from the command line and returns the exit code."""

    def run(main, config_name, *arguments):
        monkeypatch.setattr(sys, "argv", [config_name, *arguments])
        with pytest.raises(SystemExit) as stopped:
            run_application(main, config_name)
        return stopped.value.code

    return run


@pytest.fixture
def configured(run):
    """Return a function from overrides to the resolved configuration of a training."""

    def configured(*overrides):
        found = []
        assert run(lambda config: found.append(resolve(config)) or 0, "train", *overrides) == 0
        return found[0]

    return configured


@pytest.mark.parametrize("name", NAMES)
def test_the_default_model_takes_the_task(name, configured):
    """``task=…`` sets the input size of the default model and the name of the experiment."""
    config = configured(f"task={name}")
    assert config["name"] == name
    build_learner(config).require_fit(build_tasks(config).sample((0, 0), 1))
    evaluated = tasks_of(config, "evaluation").sample((0, 0), 1)
    assert evaluated.query.targets.shape[1] == config["evaluation"]["task"]["queries"]


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_writes_the_defaults_out(name):
    node = OmegaConf.to_container(OmegaConf.load(CONFIGS / "task" / f"{name}.yaml"))
    assert build(node, "task") == build({"_target_": node["_target_"]}, "task")


def test_an_evaluation_may_change_the_settings_of_any_task():
    """``conf/evaluate.yaml`` has the settings of all tasks."""
    (group,) = (
        entry["task"]
        for entry in OmegaConf.load(CONFIGS / "evaluate.yaml").defaults
        if OmegaConf.is_dict(entry) and "task" in entry
    )
    assert sorted(group) == EVERY


def test_the_oracle_is_told_the_task(configured):
    config = configured("experiment=sinusoid/oracle")
    tasks = build_tasks(config)
    assert tasks == ml.tasks.Sinusoid(informed=True)
    build_learner(config).require_fit(tasks.sample((0, 0), 1))


@pytest.mark.parametrize("name", NAMES)
def test_references_are_the_losses_of_predictors_that_do_not_adapt(name, configured):
    """Reference losses are those over 5000 evaluation tasks, within 4 standard errors and 0.01."""
    config = configured(f"task={name}", "task.shots=1")
    references = REFERENCES[config["task"]["_target_"]]
    x, y = (
        leaf.numpy().astype(np.float64) for leaf in tasks_of(config, "evaluation").sample((0, 1), 5000).query
    )
    predictions = {"predicting 0": 0.0}
    if name in BEST:
        predictions["best without adapting"] = BEST[name](x)
    assert references.keys() == predictions.keys()
    for key, prediction in predictions.items():
        losses = np.square(y - prediction).mean(axis=(1, 2))
        error = losses.std(ddof=1) / math.sqrt(losses.size)
        assert abs(losses.mean() - references[key]) < 4 * error + 0.01, key


@pytest.mark.slow
def test_inputs_of_many_dimensions_are_trained_on_and_evaluated(run, tmp_path, capfd):
    """A task with inputs of ten dimensions is trained and evaluated, without grid and figure of outputs."""
    small = [
        "diagnostics.interval=null",
        "training.iterations=3",
        "training.meta_batch_size=4",
        "evaluation.tasks=5",
        "model.hidden=[]",
    ]
    assert run(train.main, "train", "task=linear", *small, "tracking=none", f"paths.runs={tmp_path}") == 0
    (path,) = (tmp_path / "linear").iterdir()
    assert {file.stem for file in (path / "figures").iterdir()} == {
        "loss_by_step",
        "training_curves",
        "meta_gradient_norms",
    }
    assert run(evaluate.main, "evaluate", f"run={path}", "task.scale=3", "evaluation.steps=1") == 0
    (other,) = (path / "evaluations").glob("*/evaluation.json")
    before, after = (json.loads(file.read_text()) for file in (path / "evaluation.json", other))
    assert after["mean"][0] > 4 * before["mean"][0]
    capfd.readouterr()
    assert run(evaluate.main, "evaluate", f"run={path}", "task.amplitude=[1,2]") == 2
    assert "there is no setting task.amplitude" in capfd.readouterr().err
