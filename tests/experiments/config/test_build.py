"""Objects are built from configuration, and only those that the list allows."""

import importlib.util

import hydra
import keras
import numpy as np
import pytest
from omegaconf import OmegaConf

from experiments.data import sources
from experiments.harness.config.build import build, build_trainer
from experiments.harness.config.schema import check
from experiments.harness.config.trust import CONFIGS
from experiments.harness.errors import UsageError

EXPERIMENTS = sorted(
    path.relative_to(CONFIGS / "experiment").with_suffix("").as_posix()
    for path in (CONFIGS / "experiment").rglob("*.yaml")
)

QUICK = [name for name in EXPERIMENTS if name.startswith("sinusoid/") or name.endswith("/maml")]
"""The others are trained in tests/experiments/data/test_image_pages.py."""


def test_nested_targets_are_built():
    schedule = {
        "_target_": "keras.optimizers.schedules.CosineDecay",
        "initial_learning_rate": 0.5,
        "decay_steps": 10,
    }
    optimizer = build({"_target_": "keras.optimizers.SGD", "learning_rate": schedule}, "optimizer")
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert float(optimizer.learning_rate) == 0.5


def test_a_task_is_built_with_its_settings():
    tasks = build({"_target_": "metalearn.tasks.Sinusoid", "shots": 3, "amplitude": [1.0, 2.0]}, "task")
    assert (tasks.shots, list(tasks.amplitude)) == (3, [1.0, 2.0])
    assert tasks.sample((0, 0), 2).support.inputs.shape == (2, 3, 1)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.run",
        "metalearn.rules.sgd.tf",
        "metalearn.rules.__dict__",
        "metalearn.training.MetaTrainer",
        "keras.optimizers.deserialize",
        "keras.layers.Lambda",
        "keras.models.load_model",
        "sgd",
        "",
        None,
        7,
    ],
)
def test_other_targets_are_refused(target):
    with pytest.raises(UsageError, match="not allowed"):
        build({"_target_": target}, "rule")


@pytest.fixture(autouse=True)
def blank(monkeypatch):
    """Ten classes of blank images that replace drawn or stored ones."""
    for name, (size, channels) in {"_glyphs": (28, 1), "_omniglot": (28, 1), "_folder": (84, 3)}.items():
        images = {letter: np.zeros((20, size, size, channels), np.uint8) for letter in "ABCDEFGHIJ"}
        monkeypatch.setattr(sources, name, lambda *_, images=images: images)
    parts = {"train": list("ABCDE"), "validation": [], "test": list("FGHIJ")}
    monkeypatch.setattr(sources, "_mini_imagenet", lambda _: (images, parts))


@pytest.mark.parametrize("group", ["model", "task", "rule", "estimator", "optimizer"])
def test_every_yaml_of_a_group_can_be_built(group):
    files = sorted((CONFIGS / group).glob("*.yaml"))
    assert files
    for file in files:
        if file.stem == "digits" and not importlib.util.find_spec("sklearn"):
            continue
        # Schedules are as long as the training or the inner loop, models of images have an output a class.
        others = {"training": {"iterations": 10}, "task": {"ways": 5}, "paths": {"data": "data"}}
        others["learner"] = {"steps": 2}
        whole = OmegaConf.create({**others, group: OmegaConf.load(file)})
        assert build(OmegaConf.to_container(whole, resolve=True)[group], group) is not None


@pytest.mark.parametrize("experiment", QUICK)
def test_every_experiment_can_be_built(experiment):
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        # They have tests of their own, and nothing is to be differentiated in blank images.
        small = [] if experiment == "sinusoid/maml" else ["run.check_derivatives=false"]
        small += ["model.filters=2"] if experiment.startswith(("glyphs", "omniglot", "mini_imagenet")) else []
        composed = hydra.compose("train", [f"experiment={experiment}", "label=test", "name=test", *small])
    config = OmegaConf.to_container(composed, resolve=True)
    check(config)
    if config["task"].get("path") == "digits":
        pytest.importorskip("sklearn")
    if "/digits_" not in experiment:  # variants of another
        assert build_trainer(config).iteration == 0


def test_the_sweep_over_algorithms_leaves_none_out():
    sweep = OmegaConf.load(CONFIGS / "sweep" / "sinusoid_algorithms.yaml")
    swept = sweep.hydra.sweeper.params.experiment.split(",")
    assert sorted(swept) == [name for name in EXPERIMENTS if name.startswith("sinusoid/")]


def test_the_first_experiment_is_the_default_written_out():
    """The page of the first experiment equals the default configuration, so that both have one run id."""
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        default, written = (
            hydra.compose("train", ["label=maml", "name=sinusoid", *words])
            for words in ([], ["experiment=sinusoid/maml"])
        )
    assert default == written
