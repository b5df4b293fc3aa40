"""The benchmark: programs of other libraries train the same learner, and failures are reported."""

import csv
import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from experiments import benchmark
from experiments.harness.app.application import run_application
from experiments.tools.benchmark import (
    devices,
    figures,
    images,
    measure,
    report,
    worker,
    workload,
)


def test_every_program_is_there():
    listed = {name for _, _, programs, _ in report.WORKLOADS for name in programs}
    assert listed == set(worker.MODULES)


@pytest.mark.slow
def test_the_whole_command_on_little(monkeypatch, tmp_path, capfd):
    """The command writes tables, CSV and figure for one program, and reports one that fails."""
    training = {"metalearn": "tensorflow", "TorchOpt": "no_such_package"}
    estimators = {"first_order": "tensorflow", "no such estimator": "tensorflow"}
    (first, *_, last) = report.WORKLOADS
    workloads = [(*first[:2], training, first[3]), (*last[:2], estimators, last[3])]
    monkeypatch.setattr(report, "WORKLOADS", workloads)
    arguments = [
        "training.inner_steps=[1]",
        "training.width=4",
        "training.rounds=2",
        f"paths.runs={tmp_path}",
    ]
    arguments += ["estimators.inner_steps=[2]", "estimators.widths=[4]", "estimators.rounds=2"]
    arguments += ["start.inner_steps=[1]", "start.rounds=1", "workers.counts=[]"]
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_application(benchmark.main, "benchmark")
    assert stopped.value.code == 0
    printed = capfd.readouterr().out
    assert "left out: TorchOpt" in printed
    assert "KeyError" in printed
    (table,) = tmp_path.glob("benchmark/*/benchmark.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["program"] for row in rows[:5]] == ["metalearn"] * 2 + ["first_order"] * 2 + [
        "no such estimator"
    ]
    assert {row["program"] for row in rows[5:]} >= {"metalearn", "metalearn, command"}
    assert all(float(row["microseconds"]) > 0 for row in rows[:4])
    assert rows[4]["failure"]
    assert (table.parent / "estimators.png").stat().st_size > 10_000


@pytest.mark.parametrize("runs", ["/proc/nowhere", "{tmp_path}/file", "{tmp_path}/file/below"])
def test_a_folder_that_cannot_be_made_is_said_before_anything_is_measured(monkeypatch, tmp_path, capfd, runs):
    (tmp_path / "file").touch()
    monkeypatch.setattr(report, "side_by_side", lambda *_: pytest.fail("it measures"))
    runs = runs.format(tmp_path=tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmark", f"paths.runs={runs}"])
    with pytest.raises(SystemExit) as stopped:
        run_application(benchmark.main, "benchmark")
    assert stopped.value.code == 2
    assert f"cannot write to {runs}/benchmark" in capfd.readouterr().err


def test_ratios_are_of_programs_in_the_same_round():
    def of(program, microseconds):
        times = np.array(microseconds)
        return measure.Measurement(program, 1, "tasks=4", times, 2 * times, 0.0, 0.0)

    first = of("metalearn, sizes", [1.0, 2.0, 4.0, 1.0, 1.0])
    other = of("JAX, sizes", [2.0, 8.0, 4.0, 3.0, 3.0])
    assert figures.quartiles(other, first).tolist() == [[2.0, 3.0, 3.0]] * 2
    summary = report._summary([first, other], "cpu")
    assert [list(column.cells) for column in summary.columns] == [
        ["tasks=4"],
        ["1"],
        ["2"],
        ["3.00 (2.00 to 3.00)"],
    ]
    assert [column.header for column in report._table("", [first, other], "cpu").columns][2:4] == [
        "times the first",
        "CPU time",
    ]


def test_on_a_gpu_the_time_that_passes_counts():
    """CPU time is neither in the tables nor in the summary; the CSV names the device."""
    times = np.array([1.0, 3.0, 4.0])
    first, other = (
        measure.Measurement(program, 1, "tasks=4", factor * times, 100 * times, 0.0, 0.0)
        for factor, program in zip((1, 2), report.SIZES, strict=True)
    )
    table, summary = report._table("", [first, other], "gpu"), report._summary([first, other], "gpu")
    assert [column.header for column in table.columns] == [
        *("program", "median", "times the first", "compile s", "MB")
    ]
    assert [*table.columns[2].cells] == ["", "2.00 (2.00 to 2.00)"]
    assert [next(iter(column.cells)) for column in summary.columns[2:]] == ["3", "2.00 (2.00 to 2.00)"]
    rows = csv.DictReader(report._csv([first, other], "gpu").splitlines())
    assert {row["device"] for row in rows} == {"gpu"}


def test_without_a_gpu_nothing_is_measured(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(sys, "argv", ["benchmark", "device=gpu", f"paths.runs={tmp_path}"])
    with pytest.raises(SystemExit) as stopped:
        run_application(benchmark.main, "benchmark")
    assert stopped.value.code == 2
    captured = capfd.readouterr()
    assert "error: device=gpu: TensorFlow sees no GPU here" in captured.err
    assert "device=cpu" in captured.err
    assert "Traceback" not in captured.err
    assert not list(tmp_path.iterdir())


def test_programs_see_the_first_gpu_or_none(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    devices.require("gpu")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.environment("gpu")["CUDA_VISIBLE_DEVICES"] == "0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert devices.environment("gpu")["CUDA_VISIBLE_DEVICES"] == "2"
    assert devices.environment("cpu") == {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}


def test_a_library_without_a_gpu_is_not_measured_on_the_cpu():
    def torch(available):
        return SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: available))

    def jax(platform):
        return SimpleNamespace(devices=lambda: [SimpleNamespace(platform=platform)])

    for without, having in [
        ({"torch": torch(False)}, {"torch": torch(True)}),
        ({"jax": jax("cpu")}, {"jax": jax("gpu")}),
    ]:
        devices.require_in_use("gpu", having)
        devices.require_in_use("cpu", without)
        with pytest.raises(RuntimeError, match=r"(torch|jax) sees no GPU"):
            devices.require_in_use("gpu", without)


def test_sizes_are_varied_one_at_a_time():
    """Sizes are varied one at a time, and tasks that are drawn together fit into 64 MB."""
    assert report._sizes({"width": [4], "depth": [1, 3]}, ("width", "depth")) == [
        "width=4",
        "depth=1",
        "depth=3",
    ]
    size = workload.parsed("width=4,tasks=1000000")
    assert size == workload.Size(width=4, tasks=1000000)
    assert size.layers() == [(1, 4), (4, 4), (4, 1)]
    assert (size.block, workload.Size().block) == (1, 250)
    assert workload.parsed("40") == 40


@pytest.mark.parametrize(
    "argument",
    ["device=tpu", "training.rounds=0", "training.width=0", "estimators.inner_steps=[0]", "limit_seconds=-1"],
)
def test_bad_numbers_are_refused(monkeypatch, capfd, argument):
    monkeypatch.setattr(sys, "argv", ["benchmark", argument])
    with pytest.raises(SystemExit) as stopped:
        run_application(benchmark.main, "benchmark")
    assert stopped.value.code == 2
    assert argument.split("=")[0] in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("program", list(report.TRAINING))
def test_programs_learn(program):
    """After 300 iterations with one inner step, the mean query loss of each program is below 4.5."""
    if not importlib.util.find_spec(report.TRAINING[program]):
        pytest.skip(f"{report.TRAINING[program]} is not installed")
    module, _, function = worker.MODULES[program].partition(":")
    build = getattr(importlib.import_module(f"experiments.tools.benchmark.{module}"), function)
    trained = build(1, 40)
    losses = [trained.run() for _ in range(max(2, 300 // trained.iterations))]
    assert np.mean(losses[-20:]) < 4.5
    assert np.isfinite(losses).all()


def test_tasks_of_images_are_disjoint_draws():
    """Classes of a task differ, and no drawing occurs twice in its support and query."""
    tasks = images.sample(np.random.default_rng(0), 2)
    assert tasks.support.shape == (images.TASKS, 10, 28, 28, 1)
    np.testing.assert_array_equal(tasks.support_classes[3], np.repeat(np.arange(5), 2))
    for support, query in zip(tasks.support, tasks.query, strict=True):
        drawn = np.concatenate([support, query]).reshape(15, -1)
        assert len(np.unique(drawn, axis=0)) == 15


@pytest.mark.slow
@pytest.mark.parametrize("program", list(report.IMAGES))
def test_programs_learn_images(program):
    """After thirty iterations, the query loss of each program is lower than after five."""
    if not importlib.util.find_spec(report.IMAGES[program]):
        pytest.skip(f"{report.IMAGES[program]} is not installed")
    module, _, function = worker.MODULES[program].partition(":")
    build = getattr(importlib.import_module(f"experiments.tools.benchmark.{module}"), function)
    trained = build(1, 1)
    losses = [trained.run() for _ in range(6)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("workload", ["penalties", "weights"])
def test_programs_learn_the_same_hyperparameters(monkeypatch, workload):
    """After twenty iterations, the losses of all exact programs are equal to 1e-5, and Betty's has fallen."""
    pytest.importorskip("torch")
    losses = {}
    programs = report.PENALTIES if workload == "penalties" else report.WEIGHTS
    for name, needs in programs.items():
        if not importlib.util.find_spec(needs):
            continue
        module, _, function = worker.MODULES[name].partition(":")
        found = importlib.import_module(f"experiments.tools.benchmark.{module}")
        monkeypatch.setattr(found, "ITERATIONS", 10)
        trained = getattr(found, function)(100, 1000)
        losses[name.partition(",")[0]] = trained.run(), trained.run()
    approximate = losses.pop("Betty", None)
    first = losses.pop("metalearn")
    assert len(losses) >= 1
    for each in losses.values():
        np.testing.assert_allclose(each, first, rtol=1e-5)
    assert approximate is None or approximate[1] < approximate[0]
