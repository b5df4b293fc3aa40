"""The training command on a small problem: files, output, resuming and errors."""

import csv
import json
import sys

import numpy as np
import pytest

from experiments import evaluate, train
from experiments.harness.app.application import run_application
from experiments.harness.runs import checkpoints, metrics
from tests.experiments import wandb_log

SMALL = ["model.hidden=[8]", "training.iterations=60", "training.meta_batch_size=4", "evaluation.tasks=20"]

QUIET = ["tracking.mode=disabled"]


def run(monkeypatch, main, config_name, *arguments):
    monkeypatch.setattr(sys, "argv", [config_name, *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_application(main, config_name)
    return stopped.value.code


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One finished run, tracked offline."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as monkeypatch:
        code = run(monkeypatch, train.main, "train", *SMALL, f"paths.runs={runs}", "tracking.interval=20")
    assert code == 0
    (path,) = (runs / "sinusoid").iterdir()
    return path


def test_the_folder_of_a_run_holds_everything(finished):
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    assert {"config.yaml", "manifest.json", "metrics.csv", "evaluation.json"} <= names
    assert "checkpoints/0000000060.npz" in names
    figures = ("adaptation", "loss_by_step", "training_curves", "meta_gradient_norms", "meta_gradients")
    assert {f"figures/{name}.png" for name in figures} <= names
    for name in figures:
        assert (finished / "figures" / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert any(name.startswith("wandb/") and name.endswith(".wandb") for name in names)


GROUPS = {"outer", "inner", "meta_gradient", "order", "tasks", "update", "speed", "evaluation", "figures"}


def test_the_offline_run_has_every_group(finished):
    """Names of W&B's groups, iterations, diagnostics and figures are those of the default settings."""
    log = wandb_log.read(finished)
    names = {name for row in log.history for name in row}
    assert {name.partition("/")[0] for name in names if not name.startswith("_")} == GROUPS | {"iteration"}
    assert all(row["iteration"] == row["_step"] for row in log.history)
    assert [row["iteration"] for row in log.history if "order/norm" in row] == [0, 60]
    described = log.last("run")
    assert described.display_name == f"maml sinusoid {finished.name}"
    assert set(described.tags) == {"maml", "Sinusoid", "checkpointed"}
    assert "meta_gradients" in {name.rpartition("/")[2] for name in names if name.startswith("figures/")}
    with (finished / "diagnostics.csv").open() as file:
        found, last = csv.DictReader(file)
    assert last["iteration"] == "60"
    for name in (
        "order/cosine",
        "tasks/noise_scale",
        "inner/stability",
        "update/rate/parameters/output/bias",
    ):
        assert log.history[0][name] == pytest.approx(float(found[name]), rel=1e-8)


def test_evaluation_and_manifest_have_the_documented_keys(finished):
    evaluation = json.loads((finished / "evaluation.json").read_text())
    assert evaluation["steps"] == list(range(11))
    assert len(evaluation["mean"]) == len(evaluation["median"]) == len(evaluation["ci95"]) == 11
    assert evaluation["diverged"] == [0.0] * 11
    assert evaluation["metrics"] == {}
    assert (evaluation["num_tasks"], evaluation["metric"], evaluation["iteration"]) == (20, "mse", 60)
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["iteration"] == 60
    assert len(manifest["parameters_digest"]) == 64
    assert evaluation["parameters_digest"] == manifest["parameters_digest"]
    assert manifest["seconds"]["training"] <= manifest["seconds"]["total"]


def test_metrics_have_one_finite_row_an_iteration(finished):
    history = metrics.read(finished / "metrics.csv")
    assert {"outer/loss", "outer/loss_before", "inner/loss", "inner/loss_before"} <= set(history)
    assert {"meta_gradient/norm", "meta_gradient/norm/parameters/output/kernel", "learning_rate"} <= set(
        history
    )
    for name, values in history.items():
        assert values.shape == (60,)
        sparse = name in ("inner/loss_before", "inner/loss", "outer/loss_before")  # one row of ten
        assert np.isfinite(values[:: 10 if sparse else 1]).all()
    np.testing.assert_array_equal(history["learning_rate"], np.float32(1e-3))


def test_a_finished_run_is_shown_and_not_done_again(finished, monkeypatch, capfd):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    runs = finished.parents[1]
    assert run(monkeypatch, train.main, "train", *SMALL, f"paths.runs={runs}", *QUIET) == 0
    printed = capfd.readouterr().out
    assert "complete" in printed
    assert "inner steps" in printed
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()} == before


def test_evaluate_reproduces_the_evaluation_and_takes_other_settings(finished, monkeypatch, capfd):
    """Evaluations without changes have equal bits, and those with changes are stored separately."""
    stored = json.loads((finished / "evaluation.json").read_text())
    assert run(monkeypatch, evaluate.main, "evaluate", f"run={finished}") == 0
    changes = ["task.shots=3", "task.amplitude=[1,2]", "evaluation.steps=2", "evaluation.tasks=30"]
    assert run(monkeypatch, evaluate.main, "evaluate", f"run={finished}", *changes) == 0
    assert "kept in" in capfd.readouterr().out
    results = [json.loads(path.read_text()) for path in (finished / "evaluations").glob("*/evaluation.json")]
    assert len(results) == 2
    assert stored in results
    (other,) = [result for result in results if result != stored]
    assert (other["steps"], other["num_tasks"]) == ([0, 1, 2], 30)
    assert other["tasks_hash"] != stored["tasks_hash"]
    assert json.loads((finished / "evaluation.json").read_text()) == stored


def test_evaluate_refuses_to_change_what_was_trained(finished, monkeypatch, capfd):
    assert run(monkeypatch, evaluate.main, "evaluate", f"run={finished}", "+seed=3") == 2
    assert "cannot be changed when evaluating" in capfd.readouterr().err


def test_a_loss_that_explodes_stops_the_run_and_keeps_the_last_good_state(tmp_path, monkeypatch, capfd):
    """A loss that is not finite ends the run with exit code 1, and a finite checkpoint is stored.

    The inner rate is unstable; the message names the iteration and the variables.
    """
    exploding = ["rule.learning_rate=3e4", "learner.steps=4", "training.jit_compile=false"]
    exploding += ["diagnostics.interval=null", *SMALL, *QUIET]
    assert run(monkeypatch, train.main, "train", *exploding, f"paths.runs={tmp_path}") == 1
    printed = capfd.readouterr().out
    (path,) = (tmp_path / "sinusoid").iterdir()
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert f"iteration {manifest['iteration']}: not finite: " in printed
    newest = max((path / "checkpoints").iterdir())
    state = checkpoints.load(newest, manifest["identity"])
    assert state["iteration"] == manifest["iteration"]
    assert all(np.isfinite(value).all() for value in state.values() if value.dtype.kind == "f")
