"""Reports: numbers against a table computed by hand, and what happens to runs that are not finished."""

import csv
import json
import sys

import numpy as np
import pytest

from experiments import report
from experiments.harness import environment, rundir
from experiments.harness.cli import run_application
from experiments.harness.report import runs, table
from experiments.harness.report.figure import comparison
from experiments.harness.rundir import RunDirectory

TASK = {"_target_": "metalearn.tasks.Sinusoid", "shots": 10, "queries": 10}


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch):
    """Spare each of the runs the look at packages and code."""
    monkeypatch.setattr(environment, "describe", dict)
    monkeypatch.setattr(environment, "uncommitted", str)


def make_run(folder, label, seed, per_task, steps=1, status="complete", iterations=100):
    """Write what a finished run leaves of itself."""
    run = RunDirectory(folder / f"{label}-{steps}-{seed}-{status}")
    config = {"name": "sinusoid", "label": label, "seed": seed, "task": TASK, "learner": {"steps": steps}}
    config |= {"training": {"iterations": iterations}, "tracking": {"group": label + str(seed)}}
    rundir.make(run)
    rundir.create(run, {**config, "evaluation": {"seed": 1}})
    write_results(run, np.asarray(per_task, np.float32), "abc")
    described = {"status": status, "iteration": 7, "meta_parameters": 30}
    rundir.update_manifest(run, **described, milliseconds_per_iteration=0.25 + seed)
    return run


def write_results(run, per_task, tasks_hash):
    evaluation = {"steps": list(range(per_task.shape[1])), "num_tasks": len(per_task)}
    run.evaluation.write_text(json.dumps({**evaluation, "tasks_hash": tasks_hash, "metric": "mse"}))
    with run.losses.open("wb") as file:
        np.savez(file, per_task=per_task)
    run.metrics.touch()
    rundir.update_manifest(run, files=rundir.checksums(run))


@pytest.fixture
def folder(tmp_path):
    """Two seeds of a baseline, one run of another algorithm, one that diverges, one that is not finished."""
    make_run(tmp_path, "maml", 0, [[4, 1], [2, 3], [3, 2]])
    make_run(tmp_path, "maml", 1, [[4, 3], [2, 5], [3, 4]])
    make_run(tmp_path, "other", 0, [[4, 1], [2, 3], [3, 5]])
    make_run(tmp_path, "wild", 0, [[4, 1], [2, np.inf], [3, 5]])
    make_run(tmp_path, "other", 1, [[9, 9]] * 3, status="running")
    return tmp_path


def execute(monkeypatch, capfd, *arguments):
    monkeypatch.setattr(sys, "argv", ["report", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_application(report.main, "report")
    return stopped.value.code, capfd.readouterr()


def test_the_table_is_the_one_computed_by_hand(folder, monkeypatch, capfd):
    """Seeds are averaged task by task, (2, 4, 3) for the baseline; other less that is (-1, -1, 2)."""
    code, captured = execute(monkeypatch, capfd, f"runs={folder}")
    assert code == 0
    with (folder / "report" / "sinusoid_10_shot.csv").open() as file:
        header, *rows = csv.reader(file)

    def half(*values):
        return 1.96 * np.std(values, ddof=1) / np.sqrt(3)

    assert header == [
        "algorithm",
        "K",
        "seeds",
        "before",
        "after 1",
        "seeds, after 1",
        "less maml, after 1",
        "ms / iteration",
        "learned",
    ]
    assert rows == [
        [
            "maml",
            "1",
            "2",
            f"3.000 ± {half(4, 2, 3):.3f}",
            f"3.000 ± {half(2, 4, 3):.3f}",
            "2.0000 to 4.0000",
            "-",
            "0.75",
            "30",
        ],
        [
            "other",
            "1",
            "1",
            f"3.000 ± {half(4, 2, 3):.3f}",
            f"3.000 ± {half(1, 3, 5):.3f}",
            "-",
            f"0.0000 ± {half(-1, -1, 2):.4f}",
            "0.25",
            "30",
        ],
        ["wild", "1", "1", f"3.000 ± {half(4, 2, 3):.3f}", "diverged at 1", "-", "-", "0.25", "30"],
    ]
    assert (folder / "report" / "sinusoid_10_shot.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "left out" in captured.out
    assert "other-1-1-running: running at iteration 7" in captured.out


def test_the_table_goes_into_a_file(folder, monkeypatch, capfd):
    """With a line on the runs that stopped in training."""
    for seed in (2, 3):
        make_run(folder, "wild", seed, [[1, 1]] * 3, status="failed")
    page = folder / "page.md"
    page.write_text("before\n<!-- report:begin -->\n<!-- report:end -->\nafter\n")
    assert execute(monkeypatch, capfd, f"runs={folder}", f"write={page}")[0] == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert "| maml | 1 | 2 | 3.000 ±" in text
    assert "not finite: wild with K = 1 (at iteration 7, 7)." in text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["runs={0}/none"], "none is not a folder"),
        (["runs={0}/empty"], "has no runs in it"),
        (["runs={0}", "write={0}/none.md"], "none.md cannot be read"),
        ([], "runs"),
    ],
)
def test_bad_input_gets_one_clear_message(folder, monkeypatch, capfd, arguments, named):
    (folder / "empty").mkdir()
    code, captured = execute(monkeypatch, capfd, *(argument.format(folder) for argument in arguments))
    assert code == 2
    assert named in captured.err
    assert "Traceback" not in captured.err


def test_damaged_runs_are_left_out(folder):
    for index, damage in enumerate(
        (
            lambda run: run.losses.write_bytes(b"PK"),
            lambda run: run.losses.unlink(),
            lambda run: run.evaluation.write_text("{"),
            lambda run: run.manifest.write_text("[]"),
            lambda run: np.savez(run.losses, per_task=np.zeros((3, 2), np.float32)),
            lambda run: write_results(run, np.ones((3, 2), int), "abc"),
            lambda run: rundir.update_manifest(run, meta_parameters="many"),
            lambda run: run.config.write_text(run.config.read_text().replace("shots", "shoots")),
        )
    ):
        damage(make_run(folder, "damaged", index, [[1, 1]] * 3))
    found = runs.collect(folder)
    assert {group.first.label for group in found.groups} == {"maml", "other", "wild"}
    assert sum("damaged" in path.name for path in found.left_out) == 8


def test_other_tasks_are_not_compared_with(folder, monkeypatch, capfd):
    other = make_run(folder, "elsewhere", 0, [[1, 1]] * 3)
    write_results(other, np.ones((3, 2), np.float32), "xyz")
    lists = runs.comparable(runs.collect(folder).groups)
    assert sorted(len(groups) for groups in lists) == [1, 3]
    assert execute(monkeypatch, capfd, f"runs={folder}")[0] == 0
    assert len(list((folder / "report").glob("*.csv"))) == len(list((folder / "report").glob("*.png"))) == 2


def test_configurations_that_differ_are_not_averaged(folder):
    make_run(folder, "maml", 0, [[0, 0]] * 3, steps=5)
    make_run(folder, "maml", 2, [[0, 0]] * 3, iterations=7)
    groups = runs.collect(folder).groups
    assert sorted(len(group.runs) for group in groups if group.first.label == "maml") == [1, 1, 2]
    assert table.baseline_of(groups, "maml").first.steps == 1


def test_the_figure_has_a_line_an_algorithm(folder):
    """Best at the top, a mark a step at its mean, up to where an algorithm diverges, and the references."""
    (groups,) = runs.comparable(runs.collect(folder).groups)
    figure = comparison(groups, {"predicting 0": 4.25})
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["maml", "other", "wild (diverges at 1)"]
    marks = [tuple(np.ravel(bar.lines[0].get_xydata())) for bar in axes.containers]
    assert marks == [(3, 0), (3, 0), (3, 1), (3, 1), (3, 2)]
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "predicting 0: 4.25"
