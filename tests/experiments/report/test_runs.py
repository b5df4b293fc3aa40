"""Runs below a folder: which are read, which are grouped, and why the others are left out."""

import numpy as np
import pytest

from experiments.harness.report import runs
from experiments.harness.runs import rundir
from tests.experiments.report import made_runs
from tests.experiments.report.made_runs import make_group, make_run, write_results


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch):
    made_runs.spare(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    """Two seeds of one configuration."""
    for seed in (0, 1):
        make_run(tmp_path, "maml", seed, [[4, 1 + seed], [2, 3], [3, 2]], curve=[4, 3, 2.5])
    return tmp_path


def test_a_run_is_what_it_left(folder):
    (group,) = runs.collect(folder).groups
    first, second = group.runs
    assert (first.name, first.label, first.seed, second.seed) == ("sinusoid", "maml", 0, 1)
    assert (first.shots, first.steps, first.iterations, first.metric) == (10, 1, 100, "mse")
    assert (first.milliseconds, first.meta_parameters, first.tasks_hash) == (0.25, 30, "abc")
    np.testing.assert_array_equal(first.training_loss, [4, 3, 2.5])
    np.testing.assert_allclose(group.per_seed, [[3, 2], [3, 7 / 3]])
    np.testing.assert_allclose(group.per_task, [[4, 1.5], [2, 3], [3, 2]])


def test_versions_are_of_code_and_packages(folder):
    run = make_run(folder, "anil", 0, [[1, 1]])
    packages = {"keras": "3.15", "wandb": "1", "tensorflow": "2.21"}
    rundir.update_manifest(run, packages=packages, code={"commit": "0123456789ab", "changed": ["a"]})
    (version,) = {group.first.versions for group in runs.collect(folder).groups} - {""}
    assert version == "tensorflow 2.21, keras 3.15, commit 0123456789, uncommitted changes"


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [
        ([[4, 3, 2]], None),
        ([[4, 3, 40]], None),
        ([[4, 3, 41]], 2),
        ([[4, 41, 2], [4, 3, 2]], 1),
        ([[4, 3, 2], [4, 3, np.nan]], 2),
        ([[np.inf, 3, 2]], 0),
    ],
)
def test_ten_times_the_first_loss_is_divergence(losses, diverged):
    group = make_group("maml", losses)
    assert group.diverged == diverged
    assert (group.loss(2) is None) == (diverged is not None)
    assert (group.loss(1) is None) == (diverged in (0, 1))


def test_configurations_that_differ_are_not_averaged(folder):
    make_run(folder, "maml", 0, [[0, 0]] * 3, learner={"steps": 5})
    make_run(folder, "maml", 2, [[0, 0]] * 3, training={"iterations": 7})
    make_run(folder, "same", 3, [[0, 0]] * 3)
    assert sorted(len(group.runs) for group in runs.collect(folder).groups) == [1, 1, 1, 2]


def test_a_seed_counts_once(folder):
    """A run that was started again beside the first says nothing of chance."""
    make_run(folder / "again", "maml", 0, [[9, 9]] * 3)
    (group,), (unused,) = vars(runs.collect(folder)).values()
    assert [run.seed for run in group.runs] == [0, 1]
    assert unused.reason.startswith("it repeats ")


def test_what_did_not_finish_says_how_far_it_came(folder):
    make_run(folder, "anil", 0, [[1, 1]], status="failed")
    make_run(folder, "boil", 0, [[1, 1]], status="running")
    found = {run.config["label"]: run.reason for run in runs.collect(folder).unused}
    assert found == {
        "anil": "failed at iteration 7: not finite: meta_gradient/norm",
        "boil": "running at iteration 7: the same command goes on",
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
        lambda run: rundir.update_manifest(run, packages=["many"], code="none"),
        lambda run: run.config.write_text(run.config.read_text().replace("shots", "shoots")),
        lambda run: run.config.write_text("1: 2"),
    ],
)
def test_damaged_runs_are_left_out(folder, damage):
    damaged = make_run(folder, "damaged", 0, [[1, 1]] * 3)
    damage(damaged)
    found = runs.collect(folder)
    assert [group.first.label for group in found.groups] == ["maml"]
    assert [run.path for run in found.unused] == [damaged.path]
    assert str(folder) not in found.unused[0].reason


def test_other_tasks_are_not_compared_with(folder):
    other = make_run(folder, "elsewhere", 0, [[1, 1]] * 3)
    write_results(other, np.ones((3, 2), np.float32), "xyz")
    lists = runs.comparable(runs.collect(folder).groups)
    assert sorted([group.first.label for group in groups] for groups in lists) == [["elsewhere"], ["maml"]]


def test_the_best_comes_first_and_what_diverges_last():
    groups = [
        make_group(str(index), [losses])
        for index, losses in enumerate(([4, 3], [4, 1], [1, 99], [np.inf, 1]))
    ]
    (ordered,) = runs.comparable(groups)
    assert [group.first.label for group in ordered] == ["1", "0", "2", "3"]
