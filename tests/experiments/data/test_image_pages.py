"""Every page of few-shot images can be composed and trained, and glyphs and Omniglot have equal settings."""

import json
import math

import hydra
import numpy as np
import pytest
from omegaconf import OmegaConf

from experiments.data import sources
from experiments.harness.config.schema import check
from experiments.harness.config.trust import CONFIGS
from tests.experiments.data.test_reading import mini_imagenet
from tests.experiments.small_runs import run

PAGES = sorted(path.stem for path in (CONFIGS / "experiment" / "omniglot").glob("*.yaml"))

TINY = [
    "training.iterations=2",
    "training.meta_batch_size=2",
    "evaluation.tasks=2",
    "evaluation.steps=1",
    "evaluation.task.queries=2",
    "++evaluation.task.ways=2",
    "model.filters=2",
    "task.ways=2",
    "task.shots=1",
    "task.queries=2",
    "task.split=[5,2,3]",
    "tracking=none",
    "diagnostics.interval=null",
    "run.check_derivatives=false",
]


def test_every_page_has_settings_that_there_are():
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for page in PAGES:
            composed = hydra.compose("train", [f"experiment=omniglot/{page}", "label=test"])
            learner = check(OmegaConf.to_container(composed, resolve=True))["learner"]
            assert (learner["loss"], learner["metrics"]) == ("cross_entropy", ["accuracy"])


def test_letters_have_the_same_pages():
    """Pages of glyphs equal those of Omniglot except for the task and the name."""
    folder = CONFIGS / "experiment" / "glyphs"
    assert sorted(path.stem for path in folder.glob("*.yaml")) == PAGES
    for page in PAGES:
        assert OmegaConf.load(folder / f"{page}.yaml") == {
            "defaults": [f"omniglot/{page}", {"override /task": "glyphs"}],
            "name": "glyphs",
        }


@pytest.mark.parametrize(("shots", "ways"), [(5, 5), (1, 20)])
def test_other_published_tasks_are_settings(shots, ways):
    """Ways and shots of a task can be set, and the model has one output for each class."""
    options = [f"task.shots={shots}", f"task.ways={ways}", "label=test"]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose("train", ["experiment=omniglot/maml", *options])
    assert (config.task.shots, config.model.ways) == (shots, ways)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_trained(page, tmp_path, monkeypatch):
    """A small version of each page is trained for two iterations, with finite losses and an accuracy."""
    images = np.random.default_rng(0).integers(0, 255, (10, 20, 28, 28, 1)).astype(np.uint8)
    monkeypatch.setattr(sources, "_glyphs", lambda seed: dict(zip("ABCDEFGHIJ", images, strict=True)))
    assert run(tmp_path, [f"experiment=glyphs/{page}", *TINY]) == 0
    (path,) = (tmp_path / "glyphs").iterdir()
    evaluation = json.loads((path / "evaluation.json").read_text())
    assert all(map(math.isfinite, evaluation["mean"]))
    assert all(0 <= each <= 1 for each in evaluation["metrics"]["accuracy"]["mean"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", sorted(path.stem for path in (CONFIGS / "experiment/mini_imagenet").glob("*.yaml"))
)
def test_a_page_of_mini_imagenet_is_trained(page, tmp_path):
    """A small version of each page is trained on made-up images that are stored as published."""
    mini_imagenet(tmp_path / "data" / "mini_imagenet", 9)
    words = [word for word in TINY if not word.startswith("task.split")]
    words += [
        f"paths.data={tmp_path / 'data'}",
        "evaluation.steps=0" if page == "protonet" else "learner.steps=1",
    ]
    assert run(tmp_path, [f"experiment=mini_imagenet/{page}", *words]) == 0
    (path,) = (tmp_path / "mini_imagenet").iterdir()
    assert all(map(math.isfinite, json.loads((path / "evaluation.json").read_text())["mean"]))
