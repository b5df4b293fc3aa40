"""Reproduction of a run: equal, or the first difference and its likely cause."""

import sys

import numpy as np
import pytest
import yaml

from experiments import reproduce, train
from experiments.harness.app.application import run_application
from experiments.harness.config import preparation
from experiments.harness.config.build import build_trainer
from experiments.harness.runs import identity, metrics, rundir
from experiments.harness.runs.rundir import RunDirectory
from experiments.harness.session import reproduction, results
from metalearn import losses
from tests.experiments.small_runs import quick_programs

SMALL = [
    "diagnostics.interval=null",
    "model.hidden=[4]",
    "training.iterations=30",
    "training.meta_batch_size=2",
    "evaluation.tasks=4",
]
SMALL += ["evaluation.steps=1", "training.jit_compile=false", "tracking=none"]
SMALL += ["run.check_derivatives=false"]


def execute(monkeypatch, capfd, main, name, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_application(main, name)
    return stopped.value.code, capfd.readouterr()


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quick_programs():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The files of a finished run."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(results, "draw", lambda *_: {})
        monkeypatch.setattr(sys, "argv", ["train", *SMALL, f"paths.runs={runs}"])
        with pytest.raises(SystemExit) as stopped:
            run_application(train.main, "train")
    assert stopped.value.code == 0
    (path,) = (runs / "sinusoid").iterdir()
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of a complete run, which a test may change."""
    path = tmp_path / "runs" / "0123abcd"
    for name, content in finished.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return RunDirectory(path)


def test_a_run_is_the_same_and_nothing_is_written(run, monkeypatch, capfd):
    """A run in the given folder is reproduced bit for bit, and no file is changed."""
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    code, captured = execute(monkeypatch, capfd, reproduce.main, "reproduce", f"run={run.path.parent}")
    assert code == 0
    assert f"same: {run.path}, 30 iterations, bit for bit" in captured.out
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_other_code_and_other_packages_are_named(run, monkeypatch, capfd):
    """A difference is reported with its iteration, and other versions of packages are named.

    The loss is larger by a factor of 1.000001, and the manifest has another version of TensorFlow.
    """
    _, manifest = rundir.read(run)
    libraries = {**manifest["code"]["libraries"], "tensorflow": "2.0.0"}
    rundir.update_manifest(run, code={**manifest["code"], "libraries": libraries})
    monkeypatch.setitem(losses.OWN, "mse", lambda *arguments: 1.000001 * losses.mse(*arguments))
    monkeypatch.setattr(preparation, "build_trainer", build_trainer)  # not the cached one
    code, captured = execute(monkeypatch, capfd, reproduce.main, "reproduce", f"run={run.path}", "until=5")
    assert code == 1
    assert f"differs: {run.path}, iteration 0: inner/loss_before was" in captured.out
    assert "tensorflow 2.0.0 then, 2." in captured.out


def test_the_end_of_a_run_is_compared_too(run):
    rundir.update_manifest(run, parameters_digest="0" * 64)
    outcome = reproduction.compare(run)
    assert outcome.iterations == 30
    assert outcome.difference.startswith("the parameters: their digest was 000")
    assert outcome.circumstances == []
    outcome = reproduction.compare(run, until=29)
    assert (outcome.iterations, outcome.difference) == (29, None)


def test_the_evaluation_is_compared_too(run):
    """A difference in the last bit of one evaluation loss is detected, also with valid checksums."""
    with np.load(run.losses) as arrays:
        per_task = arrays["per_task"]
    per_task[3, 1] = np.nextafter(per_task[3, 1], np.float32(np.inf))
    np.savez(run.losses, per_task=per_task)
    rundir.update_manifest(run, files=rundir.checksums(run))
    outcome = reproduction.compare(run)
    assert (outcome.iterations, outcome.difference) == (30, "the evaluation, of equal parameters")


def test_the_first_difference_is_found():
    stored = {name: np.arange(5, dtype=np.float32) for name in ("a", "b", "c")}
    assert reproduction.first_difference(7, stored, stored) is None
    again = {name: values.copy() for name, values in stored.items()}
    again["b"][3] += 0.5
    again["c"][[2, 3]] = 9
    assert reproduction.first_difference(7, stored, again) == "iteration 9: c was 2, is 9 (+7)"
    again["b"][2] = 1
    expected = "iteration 9: b was 2, is 1 (-1), and 1 more columns"
    assert reproduction.first_difference(7, stored, again) == expected
    assert "there are c" in reproduction.first_difference(7, stored, {"a": stored["a"], "b": stored["b"]})


HOSTILE = {
    "code": ("rule", {"_target_": "os.system", "command": "touch evil"}),
    "builtins": ("task", {"_target_": "builtins.exec", "source": "open('evil', 'w')"}),
    "process": ("optimizer", {"_target_": "subprocess.Popen", "args": ["touch", "evil"]}),
    "hydra": ("hydra", {"run": {"dir": "evil"}}),
    "environment": ("name", "${oc.env:HOME}"),
    "parent": ("name", "../evil"),
    "absolute": ("name", "/evil"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_folder_from_a_stranger_runs_nothing(run, monkeypatch, capfd, change):
    """Untrusted runs with valid checksums are rejected, without running their code or changing files."""
    config, _ = rundir.read(run)
    config[change[0]] = change[1]
    run.config.write_text(yaml.safe_dump(config))
    rundir.update_manifest(run, config=identity.digest(config))
    monkeypatch.chdir(run.path)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    code, captured = execute(monkeypatch, capfd, reproduce.main, "reproduce", "run=.")
    assert code == 2
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    assert list(run.path.parent.iterdir()) == [run.path]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run=nowhere"], "nowhere is not the folder of a run"),
        (["run=.", "until=0"], "until=0 must be"),
        ([], "run"),
    ],
)
def test_bad_input_gets_one_clear_message(tmp_path, monkeypatch, capfd, arguments, named):
    monkeypatch.chdir(tmp_path)
    code, captured = execute(monkeypatch, capfd, reproduce.main, "reproduce", *arguments)
    assert code == 2
    assert named in captured.err


def test_damaged_metrics_are_not_compared_with(run, monkeypatch, capfd):
    history = metrics.read(run.metrics)
    run.metrics.unlink()
    metrics.append(run.metrics, 0, {**history, "outer/loss": history["outer/loss"] + 1})
    code, captured = execute(monkeypatch, capfd, reproduce.main, "reproduce", f"run={run.path}")
    assert code == 2
    assert "metrics.csv is damaged" in captured.err
