"""Runs of image classification report the accuracy with the loss, and are reproducible to the bit."""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate, reproduce
from experiments.data import sources
from experiments.harness.runs.rundir import RunDirectory
from tests.experiments.small_runs import call, content, run
from tests.experiments.test_survival import process

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
    "++evaluation.task.ways=2",
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
    together = "all queries of a task predicted together, batch normalisation by statistics=batch"
    assert together in " ".join(printed.split())
    assert (evaluation["queries_at_once"], evaluation["statistics"]) == ("all", "batch")


@pytest.mark.slow
@pytest.mark.usefixtures("blots")
def test_a_run_is_evaluated_on_another_set_and_otherwise(tmp_path, capfd):
    assert run(tmp_path, ["experiment=glyphs/protonet", *SMALL]) == 0
    (path,) = (tmp_path / "glyphs").iterdir()
    evaluation = json.loads((path / "evaluation.json").read_text())
    handwriting, random = tmp_path / "data" / "omniglot", np.random.default_rng(1)
    handwriting.mkdir(parents=True)
    with zipfile.ZipFile(handwriting / "images_background.zip", "w") as archive:
        for character, number in itertools.product(range(8), range(6)):
            file = io.BytesIO()
            Image.fromarray(random.integers(0, 255, (28, 28), np.uint8)).save(file, "PNG")
            archive.writestr(f"images_background/Latin/{character}/{number}.png", file.getvalue())
    elsewhere = ["task=omniglot", f"paths.data={handwriting.parent}"]
    apart = ["evaluation.queries_at_once=1", "evaluation.task.queries=1"]
    assert call(evaluate, f"run={path}", *elsewhere, *apart) == 0
    (kept,) = (path / "evaluations").iterdir()
    asked, found = (json.loads((kept / f"{name}.json").read_text()) for name in ("config", "evaluation"))
    assert [asked["task"][name] for name in ("path", "ways", "shots")] == [str(handwriting), 2, 1]
    assert found["queries_at_once"] == 1
    assert found["tasks_hash"] != evaluation["tasks_hash"]
    assert "queries predicted one at a time, batch normal" in " ".join(capfd.readouterr().out.split())
    assert call(evaluate, f"run={path}", elsewhere[1]) == 2
    assert "paths.data contains another data set, chosen by task=<name>" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("blots")
def test_a_run_is_the_same_again(tmp_path, capfd):
    assert run(tmp_path, ["experiment=glyphs/maml", *SMALL]) == 0
    (path,) = (tmp_path / "glyphs").iterdir()
    assert call(reproduce, f"run={path}") == 0
    assert "same: " in capfd.readouterr().out


@pytest.mark.slow
def test_killed_it_ends_with_equal_bits(tmp_path):
    """A MAML++ run that is killed by SIGKILL and resumed has the bits of an uninterrupted run."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 200, (10, 1, 28, 28, 1))
    images = (patterns + random.integers(0, 50, (10, 20, 28, 28, 1))).astype(np.uint8)
    np.savez(tmp_path / "set.npz", **dict(zip("ABCDEFGHIJ", images, strict=True)))
    long = ["experiment=omniglot/mamlpp", "task=image_folder", f"task.path={tmp_path / 'set.npz'}", *SMALL]
    long += ["task.size=28", "task.channels=1", "task.queries=2", "learner.steps=2"]
    long += ["training.iterations=300", "run.checkpoint_seconds=0.01"]
    assert run(tmp_path / "whole", long, as_traced=False) == 0
    with process(tmp_path / "killed", long) as started:
        time.sleep(0.3)
        started.kill()
        assert started.wait() == -signal.SIGKILL
    (killed,), (whole,) = (list((tmp_path / name / "omniglot").iterdir()) for name in ("killed", "whole"))
    assert json.loads((killed / "manifest.json").read_text())["status"] == "running"
    assert run(tmp_path / "killed", long, as_traced=False) == 0
    (resumed,) = json.loads((killed / "manifest.json").read_text())["resumed"]
    assert 0 < resumed["iteration"] < 300
    assert content(RunDirectory(killed)) == content(RunDirectory(whole))
    again = [sys.executable, "-m", "experiments.reproduce", f"run={killed}"]
    done = subprocess.run(again, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert b"same: " in done.stdout


@pytest.mark.slow
def test_letters_are_learned(tmp_path):
    """After 300 iterations, a small network has an accuracy above 50 % on held-out letters of 5 ways."""
    short = ["model.filters=16", "training.iterations=300", "evaluation.tasks=100", "tracking=none"]
    assert run(tmp_path, ["experiment=glyphs/maml", *short], quick=False) == 0
    (path,) = (tmp_path / "glyphs").iterdir()
    evaluation = json.loads((path / "evaluation.json").read_text())
    assert evaluation["metrics"]["accuracy"]["mean"][1] > 0.5
