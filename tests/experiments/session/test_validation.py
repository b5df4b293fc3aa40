"""Validation in training: equal to an evaluation on the same tasks, resumed rows, and early stopping."""

import csv

import numpy as np
import pytest

import metalearn as ml
from experiments.harness.config.build import build_trainer
from experiments.harness.config.preparation import tasks_of
from experiments.harness.runs.rundir import read
from experiments.harness.session import training as session
from tests.experiments.small_runs import SHORT, content, folder, quick_programs, run, stop_at

VALIDATED = [*SHORT, "validation.interval=20", "validation.tasks=20", "validation.steps=2"]


def rows(run):
    with run.validation.open() as file:
        return [(int(row["iteration"]), float(row["validation/loss"])) for row in csv.DictReader(file)]


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quick_programs():
        yield


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    runs = tmp_path_factory.mktemp("validated")
    assert run(runs, VALIDATED) == 0
    return folder(runs)


def test_it_is_an_evaluation_on_its_own_tasks(validated, short):
    """Validations at multiples of the interval and at the end equal evaluations, and do not affect bits."""
    config, manifest = read(validated)
    found = rows(validated)
    assert [iteration for iteration, _ in found] == [20, 40, 60]
    trainer = build_trainer(config)
    for iteration, loss in found:
        trainer.run(iteration - trainer.iteration)
        evaluation = ml.evaluate(trainer.learner, trainer.meta, tasks_of(config, "evaluation"), 20, 2, seed=2)
        np.testing.assert_allclose(loss, evaluation.mean[-1], rtol=1e-6)
    assert manifest["validation_loss"] == pytest.approx(found[-1][1], rel=1e-8)
    assert content(validated) == content(short[0])


@pytest.mark.slow
def test_rows_are_written_once_whatever_happens(validated, tmp_path):
    with pytest.MonkeyPatch.context() as stopping:
        stopping.setattr(session, "bar", stop_at(40, KeyboardInterrupt))
        assert run(tmp_path, VALIDATED) == 130
    assert run(tmp_path, VALIDATED) == 0
    assert rows(folder(tmp_path)) == rows(validated)


def test_a_run_is_given_up_when_it_is_told_to_and_can_go_on(validated, tmp_path):
    config, _ = read(validated)
    told = []

    def report(iteration, loss):
        told.append((iteration, loss))
        return iteration == 40

    assert session.train({**config, "paths": {"runs": str(tmp_path)}}, report) == 0
    config, manifest = read(folder(tmp_path))
    assert (manifest["status"], manifest["iteration"]) == ("pruned", 40)
    np.testing.assert_allclose(told, rows(validated)[:2], rtol=1e-8)
    assert run(tmp_path, VALIDATED) == 0
    assert content(folder(tmp_path)) == content(validated)


def test_a_run_whose_loss_is_infinite_can_be_given_up(validated, tmp_path, monkeypatch, capfd):
    """A run with an infinite validation loss can be pruned; the manifest has null, as JSON lacks infinity."""
    config, _ = read(validated)
    infinite = ml.Evaluation(
        np.arange(3),
        np.full(3, np.inf),
        np.full(3, np.nan),
        20,
        "",
        np.empty(0),
        np.full(3, np.inf),
        np.ones(3),
    )
    monkeypatch.setattr(ml, "evaluator", lambda *_, cache: lambda meta: infinite)
    assert session.train({**config, "paths": {"runs": str(tmp_path)}}, lambda *_: True) == 0
    _, manifest = read(folder(tmp_path))
    assert (manifest["status"], manifest["validation_loss"]) == ("pruned", None)
    assert "its validation loss is inf" in capfd.readouterr().out
