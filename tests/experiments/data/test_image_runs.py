"""Runs of image classification: accuracy beside the loss, equal bits when they are made again."""

import json

import numpy as np
import pytest

from experiments import evaluate, reproduce
from experiments.data import sources
from tests.experiments.small_runs import call, run

SMALL = [
    "training.iterations=4",
    "training.meta_batch_size=3",
    "evaluation.tasks=4",
]
SMALL += [
    "model.filters=2",
    "evaluation.steps=1",
    "task.ways=2",
    "evaluation.task.queries=2",
    "tracking=none",
]
SMALL += ["diagnostics.interval=null", "run.check_derivatives=false", "task.split=[5,2,3]"]


@pytest.fixture
def blots(monkeypatch):
    """Classes of noisy patterns."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 200, (10, 1, 28, 28, 1))
    images = (patterns + random.integers(0, 50, (10, 20, 28, 28, 1))).astype(np.uint8)
    monkeypatch.setattr(sources, "_glyphs", lambda seed: dict(zip("ABCDEFGHIJ", images, strict=True)))


@pytest.mark.usefixtures("blots")
def test_a_run_has_accuracies(tmp_path, capfd):
    assert run(tmp_path, ["experiment=glyphs/protonet", *SMALL]) == 0
    (path,) = (tmp_path / "glyphs").iterdir()
    evaluation = json.loads((path / "evaluation.json").read_text())
    assert evaluation["metric"] == "cross_entropy"
    accuracy = evaluation["metrics"]["accuracy"]["mean"]
    assert len(accuracy) == 2
    assert all(0 <= each <= 1 for each in accuracy)
    printed = capfd.readouterr().out
    assert "accuracy" in printed
    assert "tasks sequential" in printed
    together = "all queries of a task answered together, batch normalisation by statistics=batch"
    assert together in " ".join(printed.split())
    assert (evaluation["queries_at_once"], evaluation["statistics"]) == ("all", "batch")

    assert call(evaluate, f"run={path}", "evaluation.queries_at_once=1") == 0
    (kept,) = (path / "evaluations").iterdir()
    apart = json.loads((kept / "evaluation.json").read_text())
    assert apart["queries_at_once"] == 1
    assert apart["tasks_hash"] == evaluation["tasks_hash"]
    assert apart["mean"] != evaluation["mean"]
    assert "queries answered one at a time, batch normal" in " ".join(capfd.readouterr().out.split())
    assert call(evaluate, f"run={path}", "evaluation.queries_at_once=3") == 2
    assert "evaluation: queries_at_once=3 does not divide the 4 queries" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("blots")
def test_a_run_is_the_same_again(tmp_path, capfd):
    assert run(tmp_path, ["experiment=glyphs/maml", *SMALL]) == 0
    (path,) = (tmp_path / "glyphs").iterdir()
    assert call(reproduce, f"run={path}") == 0
    assert "same: " in capfd.readouterr().out


@pytest.mark.slow
def test_letters_are_learned(tmp_path):
    """A small network, 300 iterations: far above the 20 % of chance on letters that it has not seen."""
    short = ["model.filters=16", "training.iterations=300", "evaluation.tasks=100", "tracking=none"]
    assert run(tmp_path, ["experiment=glyphs/maml", *short], quick=False) == 0
    (path,) = (tmp_path / "glyphs").iterdir()
    evaluation = json.loads((path / "evaluation.json").read_text())
    assert evaluation["metrics"]["accuracy"]["mean"][1] > 0.5
