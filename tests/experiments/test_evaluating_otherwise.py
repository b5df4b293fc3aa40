"""Settings of the evaluation never cause a new training, and a failed evaluation loses no training."""

import json
import shutil
import signal

import pytest

import metalearn as ml
from experiments import evaluate
from experiments.harness.errors import UsageError
from experiments.harness.runs import checkpoints
from experiments.harness.session import results
from experiments.harness.session import training as session
from tests.experiments.small_runs import SHORT, call, content, folder, run

OTHERWISE = [*SHORT, "evaluation.steps=3", "evaluation.task.queries=7"]


@pytest.fixture
def copy(short, tmp_path):
    """A complete run that a test may change."""
    shutil.copytree(short[0].path, tmp_path / "sinusoid" / short[0].path.name)
    return folder(tmp_path)


@pytest.fixture
def untrained(monkeypatch):
    """No iteration may be trained."""
    monkeypatch.setattr(ml.MetaTrainer, "run", lambda *_: pytest.fail("it trains"))


def stored(run):
    return json.loads(run.evaluation.read_text())


def test_a_complete_run_is_evaluated_otherwise_and_back(copy, untrained, tmp_path, capfd):
    """Another evaluation replaces the first, which is stored and has the same bits when requested again."""
    before = content(copy)
    first = stored(copy)
    assert run(tmp_path, OTHERWISE) == 0
    assert folder(tmp_path) == copy
    now = stored(copy)
    assert (first["steps"], now["steps"]) == ([0, 1], [0, 1, 2, 3])
    assert now["parameters_digest"] == first["parameters_digest"] == before[0]
    (aside,) = copy.evaluations.iterdir()
    assert json.loads((aside / "evaluation.json").read_text()) == first
    assert json.loads((aside / "config.json").read_text())["evaluation"]["steps"] == 1
    capfd.readouterr()
    assert run(tmp_path, OTHERWISE) == 0
    assert "complete since" in capfd.readouterr().out
    assert run(tmp_path, SHORT) == 0
    assert content(copy) == before


def test_an_evaluation_that_fails_can_be_repeated_otherwise(short, tmp_path, monkeypatch, capfd):
    shutil.copytree(short[1].path, tmp_path / "sinusoid" / short[1].path.name)
    with monkeypatch.context() as failing:

        def fail(*_):
            raise UsageError("evaluation: too many")

        failing.setattr(results, "evaluate", fail)
        assert run(tmp_path, SHORT) == 2
    message = capfd.readouterr().err
    assert "evaluation: too many. The training is kept in " in message
    assert "other settings of evaluation" in message
    assert json.loads(folder(tmp_path).manifest.read_text())["status"] == "trained"
    monkeypatch.setattr(ml.MetaTrainer, "run", lambda *_: pytest.fail("it trains"))
    assert run(tmp_path, OTHERWISE) == 0
    assert content(folder(tmp_path))[:2] == content(short[0])[:2]


@pytest.mark.parametrize("again", [False, True])
def test_interrupted_in_the_evaluation_it_says_how_to_go_on(copy, tmp_path, monkeypatch, capfd, again):
    """After an interruption in the evaluation, the run can be resumed with the same bits.

    A second Ctrl-C ends it immediately; otherwise the evaluation has a few seconds to end.
    """
    before = content(copy)

    def interrupt(*_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as stopped:
        if again:
            stopped.setattr(results, "evaluate", interrupt)
        else:
            stopped.setattr(session, "conclude", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(tmp_path, OTHERWISE) == 130
    printed = capfd.readouterr().out
    assert "interrupted; kept up to iteration 60; resume with: " in printed
    manifest = json.loads(copy.manifest.read_text())
    assert (manifest["status"], manifest["iteration"]) == ("interrupted", 60)
    assert run(tmp_path, SHORT) == 0
    assert content(copy) == before


def test_another_inner_rule_in_the_evaluation(copy, untrained, tmp_path, capfd):
    """With a learning rate of 1e-9, the inner step changes the loss by less than 1e-6 of it."""
    first = stored(copy)
    said = "evaluated with the inner rule changed: learning_rate=1e-09"
    assert run(tmp_path, [*SHORT, "+evaluation.rule.learning_rate=1e-9"]) == 0
    assert said in capfd.readouterr().out
    assert run(tmp_path, [*SHORT, "+evaluation.rule.learning_rate=1e-9"]) == 0
    assert said in capfd.readouterr().out  # printed again from the stored evaluation
    before, after = stored(copy)["mean"]
    assert before == first["mean"][0]
    assert after == pytest.approx(before, rel=1e-6)
    assert abs(first["mean"][1] - before) > 1e-3 * before
    assert call(evaluate, f"run={copy.path}", "evaluation.rule.learning_rate=0.02") == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["+evaluation.rule.rate=1"], "rate"),
        (["+evaluation.rule.learning_rate=-1"], "evaluation.rule.learning_rate=-1 must be"),
        (["+evaluation.rule=0.1"], "evaluation.rule=0.1 must be a section of settings of the rule"),
        (["algorithm=meta_sgd", "+evaluation.rule.learning_rate=1"], "with meta-learned values"),
        (["experiment=gan/dirac", "+evaluation.rule.learning_rate=1"], "which a problem does not use"),
    ],
)
def test_an_inner_rule_that_cannot_be_is_refused_before_training(tmp_path, capfd, changed, message):
    assert run(tmp_path, [*SHORT, *changed]) == 2
    assert message in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_another_label_is_applied_and_said(copy, untrained, tmp_path, capfd):
    assert run(tmp_path, [*SHORT, "label=mine"]) == 0
    assert "label of the run is now mine" in capfd.readouterr().out
    assert run(tmp_path, [*SHORT, "label=mine"]) == 0
    assert "is called" not in capfd.readouterr().out


def test_equal_numbers_are_one_run(copy, untrained, tmp_path, capfd):
    """Values such as 0.0 and 0, 1e-3 and 0.001, no and false give the same run."""
    same = ["learner.proximal=0", "optimizer.learning_rate=1e-3", "task.noise=0", "run.fresh=no"]
    assert run(tmp_path, [*SHORT, *same, "training.jit_compile=no"]) == 0
    assert "complete since" in capfd.readouterr().out


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"damage"), lambda path: path.unlink()])
def test_an_older_state_is_not_evaluated_in_the_place_of_a_complete_run(copy, damage, capfd):
    newest = checkpoints.listed(copy.checkpoints)[-1]
    assert len(checkpoints.listed(copy.checkpoints)) == 2
    damage(newest)
    assert call(evaluate, f"run={copy.path}") == 2
    message = capfd.readouterr().err
    assert "no longer has the parameters that the run ended with" in message
    assert "the run has 60" in message
    assert "run.fresh=true" in message
    assert not copy.evaluations.exists()
