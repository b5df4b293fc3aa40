"""Tracking with Weights & Biases: the files of a real offline run, read record by record."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

from experiments.harness.tracking.trackers import Tracker
from experiments.harness.tracking.wandb import wandb_tracker
from metalearn import Evaluation
from metalearn.training import LOSSES
from tests.experiments.wandb_log import nested, read

KERNEL = "parameters/hidden_0/kernel"
COLUMNS = (*LOSSES, "meta_gradient/norm", f"meta_gradient/norm/{KERNEL}", "learning_rate")
IN_GROUPS = {"learning_rate": "update/learning_rate"}
CONFIG = {"seed": 3, "task": {"shots": 10, "amplitude": [0.1, 5.0]}, "group": None}
GRADIENT = {
    "parameters": {
        "hidden_0/kernel": tf.reshape(tf.linspace(-1.0, 1.0, 640), [16, 40]),
        "hidden_0/bias": tf.zeros(40),
        "output/bias": tf.constant([3.0]),
    },
    "rule": {"learning_rate": tf.constant(1e-44)},
}


def make_history(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.lognormal(size=rows).astype(np.float32) for name in COLUMNS}


def part(history: dict[str, np.ndarray], first: int, end: int) -> dict[str, np.ndarray]:
    return {name: rows[first:end] for name, rows in history.items()}


def start(directory: Path, **settings: Any) -> Tracker:
    described = {"directory": directory, "config": CONFIG, "run_id": "3f9c", "name": "maml", "group": "sweep"}
    return wandb_tracker(**{**described, **settings})


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 250 iterations in calls of 30, 200 and 20, with everything that a tracker takes."""
    directory = tmp_path_factory.mktemp("runs") / "3f9c"
    tracker = start(directory, interval=100, histogram_interval=150)
    history = make_history(250)
    for first, end, seconds in ((0, 30, 6.0), (30, 230, 2.0), (230, 250, 1.0)):
        tracker.log(first, part(history, first, end), GRADIENT, seconds)
    steps = np.arange(3)
    tracker.evaluation(
        Evaluation(
            steps,
            np.array([3.0, 0.3, np.inf]),
            np.array([0.3, 0.03, np.nan]),
            600,
            "",
            np.empty(0),
            np.array([2.0, 0.2, np.inf]),
            np.array([0.0, 0.0, 1.0]),
        ),
        "mse",
    )
    image, checkpoint = directory / "image.png", directory / "00000250.npz"
    Figure((1, 1)).savefig(image, dpi=50)
    checkpoint.write_bytes(b"weights")
    tracker.figures({"adaptation": image})
    tracker.checkpoint(checkpoint)
    tracker.finish(exit_code=7)
    tracker.finish()
    return directory


def test_rows_are_window_means(directory: Path) -> None:
    run, history = read(directory), make_history(250)
    assert [row["iteration"] for row in run.history] == [100, 200, 250]
    assert [row["_step"] for row in run.history] == [100, 200, 250]
    for row, window in zip(run.history, (slice(0, 100), slice(100, 200), slice(200, 250)), strict=True):
        for name in COLUMNS:
            mean = history[name][window].mean(dtype=np.float64)
            assert row[IN_GROUPS.get(name, name)] == pytest.approx(mean, rel=1e-12)


def test_rate_is_of_the_window(directory: Path) -> None:
    rates = [row["speed/iterations_per_second"] for row in read(directory).history]
    # 30 iterations took 0.2 s each, the next 200 took 0.01 s each, the last 20 0.05 s each.
    np.testing.assert_allclose(rates, [100 / (30 * 0.2 + 70 * 0.01), 100, 50 / (30 * 0.01 + 20 * 0.05)])


def test_histograms_have_every_entry_and_survive_constant_and_tiny_gradients(directory: Path) -> None:
    first, second, third = read(directory).history
    # Iteration 150 was passed in the second call, of which the row at 200 is the last.
    assert not any("histogram" in name for name in (*first, *third))
    leaves = (KERNEL, "parameters/hidden_0/bias", "parameters/output/bias", "rule/learning_rate")
    names = [name for name in second if "histogram" in name]
    assert sorted(names) == sorted(f"meta_gradient/histogram/{leaf}" for leaf in leaves)
    for leaf, size in zip(leaves, (640, 40, 1, 1), strict=True):
        histogram = second[f"meta_gradient/histogram/{leaf}"]
        assert histogram["_type"] == "histogram"
        assert len(histogram["values"]) == 64
        assert sum(histogram["values"]) == size
        assert np.all(np.diff(histogram["bins"]) > 0)
    kernel = second[f"meta_gradient/histogram/{KERNEL}"]
    expected = np.histogram(GRADIENT["parameters"]["hidden_0/kernel"].numpy().astype(np.float64), 64)
    assert kernel["values"] == expected[0].tolist()
    np.testing.assert_allclose(kernel["bins"], expected[1], rtol=1e-12)


def test_evaluation_is_a_table_and_summary_entries(directory: Path) -> None:
    run = read(directory)
    table = run.history[-1]["evaluation/table"]
    assert table["_type"] == "table-file"
    stored = json.loads(next(directory.glob(f"wandb/offline-run-*/files/{table['path']}")).read_text())
    assert stored["columns"] == ["steps", "mse mean", "ci95", "num_tasks"]
    assert stored["data"][:2] == [[0, 3.0, 0.3, 600], [1, 0.3, 0.03, 600]]
    assert stored["data"][2][1] == np.inf
    summary: dict[str, Any] = {}
    for record in run.records:
        summary |= nested(record.summary.update)
    assert [summary[f"evaluation/mse_after_{step}"] for step in (0, 1)] == [3.0, 0.3]


def test_figures_and_checkpoint_are_kept_below_the_directory(directory: Path) -> None:
    run = read(directory)
    image = run.history[-1]["figures/adaptation"]
    assert image["_type"] == "image-file"
    kept = next(directory.glob(f"wandb/offline-run-*/files/{image['path']}"))
    assert kept.read_bytes() == (directory / "image.png").read_bytes()
    artifact = next(record.artifact for record in run.records if record.artifact.type == "checkpoint")
    assert artifact.name == "checkpoint-3f9c"
    (content,) = artifact.manifest.contents
    assert content.path == "00000250.npz"
    staged = Path(content.local_path)
    assert staged.read_bytes() == b"weights"
    assert staged.is_relative_to(directory.resolve())


def test_run_config_axis_and_exit(directory: Path) -> None:
    run = read(directory)
    described = run.last("run")
    assert (described.run_id, described.display_name, described.run_group) == ("3f9c", "maml", "sweep")
    assert described.project == "metalearn"
    config = {item.key: json.loads(item.value_json) for item in described.config.update}
    assert {key: config[key] for key in CONFIG} == CONFIG
    metrics = [record.metric for record in run.records if record.metric.glob_name or record.metric.name]
    assert {metric.step_metric for metric in metrics} == {"iteration"}
    summaries = {metric.glob_name or metric.name: metric.summary for metric in metrics}
    assert summaries["outer/loss"].min
    assert summaries["outer/loss"].last
    assert summaries["inner/stability"].max
    assert summaries["update/*"].last
    assert "*" in summaries
    assert run.last("exit").exit_code == 7


def test_nothing_about_the_machine_is_recorded(directory: Path) -> None:
    run = read(directory)
    assert not run.last("run").host
    assert not run.last("run").git.remote_url
    assert {record.WhichOneof("record_type") for record in run.records}.isdisjoint({"stats", "environment"})
    names = {path.name for path in directory.glob("wandb/offline-run-*/files/*")}
    assert names == {"media"}


def test_a_resumed_run_keeps_the_alignment(tmp_path: Path) -> None:
    history = make_history(120)
    for first, end in ((0, 45), (45, 120)):
        tracker = start(tmp_path, interval=20)
        tracker.log(first, part(history, first, end), None, 1.0)
        tracker.finish()
    rows = read(tmp_path, 0).history + read(tmp_path, 1).history
    assert [row["iteration"] for row in rows] == [20, 40, 45, 60, 80, 100, 120]
    losses = [row["outer/loss"] for row in rows]
    edges = [0, 20, 40, 45, 60, 80, 100, 120]
    expected = [history["outer/loss"][a:b].mean(dtype=np.float64) for a, b in pairwise(edges)]
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


def test_diagnoses_are_rows_of_their_iteration(tmp_path: Path) -> None:
    history = make_history(40)
    tracker = start(tmp_path, interval=100)
    for first in (0, 20):
        rates = {"learning_rate/kernel": np.array([0.1, 0.2, 0.2]), "momentum": np.array(0.9)}
        tracker.diagnosis(first, {"order/cosine": first / 100}, rates)
        tracker.log(first, part(history, first, first + 20), None, 1.0)
    tracker.finish()
    rows = read(tmp_path).history
    assert [row["_step"] for row in rows] == [0, 20, 40]
    assert [row.get("order/cosine") for row in rows] == [0.0, 0.2, None]
    for row in rows[:2]:  # what is one number has no distribution
        (name,) = [name for name in row if name.startswith("learned/")]
        assert name == "learned/histogram/learning_rate/kernel"
        assert [row[name]["values"][place] for place in (0, -1)] == [1, 2]
    assert rows[1]["outer/loss"] == pytest.approx(
        history["outer/loss"][:20].mean(dtype=np.float64), rel=1e-12
    )
