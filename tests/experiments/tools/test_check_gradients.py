"""The audit of meta-gradients: its results for a configuration, and its detection of a wrong estimator."""

import sys

import pytest

import metalearn as ml
from experiments import check_gradients
from experiments.harness.app.application import run_application
from experiments.tools import gradients

SMALL = ["model.hidden=[4]", "training.meta_batch_size=3"]


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["check_gradients", *SMALL, *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_application(check_gradients.main, "check_gradients")
    return stopped.value.code


@pytest.fixture
def only(monkeypatch):
    """Return a function that restricts the audit to estimators, for time."""
    every = gradients.estimators

    def restrict(*names):
        def chosen(config):
            return {name: each for name, each in every(config).items() if name in names}

        monkeypatch.setattr(gradients, "estimators", chosen)

    return restrict


def test_every_estimator_is_in_the_table():
    """All estimators are checked except composed and zero ones; the configured one has its own settings."""
    chosen = {"_target_": "metalearn.estimators.truncated", "window": 3}
    found = gradients.estimators({"estimator": chosen})
    others = {"Estimator", "annealed", "frozen", "get", "mixed_mode", "natural"}
    assert set(ml.estimators.__all__) - others == set(found)
    assert found["truncated"] == chosen


def test_right_estimators_pass_and_the_others_are_explained(monkeypatch, capfd, only):
    """With correct estimators, the exit code is 0; biased ones are marked, others omitted with a reason."""
    only("first_order", "checkpointed", "implicit")
    assert run(monkeypatch) == 0
    printed = capfd.readouterr().out
    lines = {line.split("│")[1].strip(): line for line in printed.splitlines() if "│" in line}
    assert "exact" in lines["checkpointed"]
    assert "biased" in lines["first_order"]
    assert "implicit" not in lines
    assert "implicit does not apply" in printed


def test_a_wrong_estimator_is_noticed(monkeypatch, capfd, only):
    """An estimator of first order that declares itself exact gives the exit code 1."""
    only("first_order")
    monkeypatch.setattr(ml.estimators.first_order, "exact", True)
    assert run(monkeypatch) == 1
    assert "OFF" in capfd.readouterr().out
