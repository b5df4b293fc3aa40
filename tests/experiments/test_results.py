"""Data frames of the runs in a folder: results, groups, and reasons for excluded runs."""

import numpy as np
import pandas as pd
import pytest

from experiments import results
from experiments.harness.errors import UsageError
from experiments.harness.runs import rundir
from experiments.harness.sweeps.collection import training_loss
from tests.experiments.report import made_runs
from tests.experiments.report.made_runs import make_run, write_results


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch):
    made_runs.spare(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    """Two seeds of one configuration."""
    for seed in (0, 1):
        make_run(tmp_path, "maml", seed, [[4, 1 + seed], [2, 3], [3, 2]], curve=[4, 3, 2.5])
    return tmp_path


def used(folder):
    return results.load(folder).query("reason == ''").sort_values(["algorithm", "seed"])


def test_a_run_is_a_row_of_what_it_left(folder):
    runs = used(folder)
    assert runs.index.tolist() == [f"{id}" for id in runs["id"]]
    expected = {
        "name": "sinusoid", "algorithm": "maml", "seed": 1, "status": "complete", "shots": 10,
        "inner_steps": 1, "iterations": 100, "milliseconds": 1.25, "parameters": 30, "metric": "mse",
        "tasks": 3, "tasks_hash": "abc", "loss_0": 3, "loss_1": pytest.approx(7 / 3),
    }  # fmt: skip
    assert runs.iloc[1][[*expected]].to_dict() == expected
    assert np.isnan(runs["diverged_at"]).all()
    assert runs["configuration"].nunique() == 1
    np.testing.assert_array_equal(training_loss(folder / runs.index[0] / "metrics.csv"), [4, 3, 2.5])


def test_settings_that_vary_are_columns_with_values_to_calculate_with(folder):
    make_run(folder, "maml", 0, [[0, 0]] * 3, learner={"steps": 5}, model={"hidden": [40, 40]})
    runs = used(folder)
    assert runs["learner.steps"].dtype.kind == "i"
    assert runs.groupby("learner.steps")["loss_1"].mean().to_dict() == {1: pytest.approx(13 / 6), 5: 0}
    assert runs["model.hidden"].tolist().count("[40, 40]") == 1
    assert not {"label", "seed", "training.iterations"} & {*runs.filter(like=".").columns}


def test_steps_and_tasks_are_tidy(folder):
    steps, tasks = results.steps(folder), results.tasks(folder)
    assert [*steps] == ["run", "algorithm", "seed", "step", "mean", "median", "diverged"]
    after = steps.query("step == 1").sort_values("seed")
    np.testing.assert_allclose(after["mean"], [2, 7 / 3])
    assert after["median"].tolist() == [2, 2]
    assert [*tasks] == ["run", "algorithm", "seed", "task", "step", "loss"]
    one = tasks.query("seed == 1 and step == 1").sort_values("task")
    assert one["loss"].tolist() == [2, 3, 2]
    assert len(tasks) == 2 * 3 * 2


def test_a_task_has_diverged_above_ten_times_the_largest_before(folder):
    make_run(folder, "wild", 0, [[4, 40], [2, 41], [3, np.nan]])
    assert results.steps(folder).query("algorithm == 'wild'")["diverged"].tolist() == [
        0,
        pytest.approx(2 / 3),
    ]


def test_versions_are_of_code_and_packages(folder):
    run = make_run(folder, "anil", 0, [[1, 1]])
    packages = {"keras": "3.15", "wandb": "1", "tensorflow": "2.21"}
    rundir.update_manifest(run, packages=packages, code={"commit": "0123456789ab", "changed": ["a"]})
    (version,) = {*results.load(folder)["versions"]} - {""}
    assert version == "tensorflow 2.21, keras 3.15, commit 0123456789, uncommitted changes"


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [
        ([4, 3, 2], np.nan),
        ([4, 3, 40], np.nan),
        ([4, 3, 41], 2),
        ([4, 41, 2], 1),
        ([4, 3, np.nan], 2),
        ([np.inf, 3, 2], 0),
    ],
)
def test_ten_times_the_first_loss_is_divergence(tmp_path, losses, diverged):
    make_run(tmp_path, "maml", 0, [losses])
    np.testing.assert_array_equal(results.load(tmp_path)["diverged_at"], [diverged])


def test_configurations_that_differ_are_told_apart(folder):
    make_run(folder, "maml", 0, [[0, 0]] * 3, learner={"steps": 5})
    make_run(folder, "maml", 2, [[0, 0]] * 3, training={"iterations": 7})
    make_run(folder, "same", 3, [[0, 0]] * 3)
    assert sorted(used(folder)["configuration"].value_counts()) == [1, 1, 1, 2]


def test_a_seed_counts_once_and_has_one_shape(folder):
    """A run with equal settings, or with an evaluation of another shape, is excluded with a reason."""
    make_run(folder / "again", "maml", 0, [[9, 9]] * 3)
    make_run(folder, "maml", 2, [[9, 9]] * 4)
    runs = results.load(folder)
    assert runs.loc[runs["reason"] == "", "seed"].size == 2
    repeated, other = sorted(runs["reason"])[2:]
    assert repeated.startswith("it repeats ")
    assert other.startswith("its evaluation has another shape than that of ")


def test_what_did_not_finish_says_how_far_it_came(folder):
    make_run(folder, "anil", 0, [[1, 1]], status="failed")
    make_run(folder, "boil", 0, [[1, 1]], status="running")
    found = results.load(folder).set_index("algorithm")[["status", "reason"]].drop("maml")
    assert found.T.to_dict("list") == {
        "anil": ["failed", "failed at iteration 7: not finite: meta_gradient/norm"],
        "boil": ["running", "running at iteration 7: the same command resumes it"],
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: run.losses.write_bytes(b"PK"),
        lambda run: run.losses.unlink(),
        lambda run: run.evaluation.write_text("{"),
        lambda run: run.manifest.write_text("[]"),
        lambda run: run.metrics.write_text("iteration,outer/loss\n0,1\n"),
        lambda run: np.savez(run.losses, per_task=np.zeros((3, 2), np.float32)),
        lambda run: write_results(run, np.ones((3, 2), int), "abc"),
        lambda run: write_results(run, np.ones((0, 2), np.float32), "abc"),
        lambda run: (run.metrics.write_text("a\n"), rundir.update_manifest(run, files=rundir.checksums(run))),
        lambda run: rundir.update_manifest(run, meta_parameters="many"),
        lambda run: rundir.update_manifest(run, seconds=7),
        lambda run: rundir.update_manifest(run, packages=["many"], code="none"),
        lambda run: run.config.write_text(run.config.read_text().replace("shots", "shoots")),
        lambda run: run.config.write_text("1: 2"),
    ],
)
def test_damaged_runs_are_listed_with_the_reason(folder, damage):
    damaged = make_run(folder, "damaged", 0, [[1, 1]] * 3)
    damage(damaged)
    runs = results.load(folder)
    assert runs.loc[runs["reason"] == "", "algorithm"].tolist() == ["maml", "maml"]
    (other,) = runs.loc[runs["reason"] != ""].to_dict("records")
    assert (other["path"], other["status"]) == (str(damaged.path), "damaged")
    assert str(folder) not in other["reason"]
    assert len(results.steps(folder)) == 4


def test_what_is_no_number_in_a_learning_curve_is_none(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b'iteration,outer/loss,c\n0,1,2\n1,x"y,3\n2,\xff\x00,3\n3,4,5,6,7\n4,8,9\n')
    np.testing.assert_array_equal(training_loss(path), [1, np.nan, np.nan, 4, 8])


def test_a_folder_without_runs_is_said_and_one_without_numbers_is_a_table_of_reasons(tmp_path):
    with pytest.raises(UsageError, match="contains no runs"):
        results.load(tmp_path)
    make_run(tmp_path, "maml", 0, [[1, 1]], status="running")
    reasons = results.load(tmp_path)["reason"].tolist()
    assert reasons == ["running at iteration 7: the same command resumes it"]
    assert results.steps(tmp_path).empty
    assert results.tasks(tmp_path).empty
    assert isinstance(results.load(str(tmp_path)), pd.DataFrame)
