"""A user-defined bilevel problem with data without shots, in all commands."""

import numpy as np
import pytest
import yaml

from experiments.harness.runs import metrics
from experiments.harness.runs.rundir import RunDirectory
from experiments.harness.session import training as session
from experiments.tools import gradients
from tests.experiments import own_project
from tests.experiments.own_project import call
from tests.experiments.small_runs import stop_at

RIDGE = '''
import keras
import numpy as np
import tensorflow as tf

import metalearn as ml


def data(noise):
    random = np.random.default_rng(0)
    x = random.normal(size=(20, 3))
    y = x @ [[1.0], [2.0], [3.0]] + noise * random.normal(size=(20, 1))
    return ml.tasks.dataset(ml.Task(ml.Batch(x[:10], y[:10]), ml.Batch(x[10:], y[10:])))


def ridge(rule, estimator, steps):
    """Learn the strength of a penalty."""

    def error(theta, data):
        return tf.reduce_mean(tf.square(data.inputs @ theta["w"] - data.targets))

    def inner_loss(theta, phi, data, model):
        return error(theta, data) + tf.exp(phi["log_l2"]) * tf.reduce_sum(tf.square(theta["w"]))

    problem = ml.BilevelProblem(
        start=lambda phi, task: {"w": tf.zeros([3, 1], phi["log_l2"].dtype)},
        inner_loss=inner_loss,
        outer_loss=lambda theta, phi, task, model: error(theta, task.query),
        rule=rule,
        steps=steps,
    )
    return ml.BilevelLearner(problem, estimator, start={"log_l2": tf.constant(-1.0, keras.config.floatx())})


def nothing():
    return 3
'''

CONFIG = {
    "task/points.yaml": {"_target_": "mylab.data", "noise": 0.5},
    "problem/strength.yaml": {
        "_target_": "mylab.ridge",
        "rule": "${rule}",
        "estimator": "${estimator}",
        "steps": "${learner.steps}",
    },
    "problem/nothing.yaml": {"_target_": "mylab.nothing"},
}

OWN = ["--config-dir=conf", "packages=mylab", "task=points", "problem=strength", "learner.steps=3"]
OWN += ["rule.learning_rate=0.1", "training.iterations=8", "training.meta_batch_size=1", "evaluation.tasks=2"]
OWN += ["training.jit_compile=false", "tracking=none", "diagnostics.interval=null", "evaluation.steps=3"]
OWN += ["run.check_derivatives=false"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "mylab.py").write_text(RIDGE)
    for name, page in CONFIG.items():
        path = folder / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(page))
    own_project.forget()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(session, "bar", stop_at(4, KeyboardInterrupt))
        assert call(folder, "train", *OWN) == 130
    assert call(folder, "train", *OWN) == 0
    yield folder
    own_project.forget()


def test_every_command_takes_it(project, capfd):
    (path,) = (project / "runs" / "points").iterdir()
    run = path.relative_to(project)
    assert np.isfinite(metrics.read(RunDirectory(path).metrics)["outer/loss"]).all()
    assert call(project, "reproduce", "packages=mylab", f"run={run}") == 0
    assert "8 iterations, bit for bit" in capfd.readouterr().out
    assert call(project, "evaluate", "packages=mylab", f"run={run}", "task.noise=0") == 0
    assert "RIDGE" in capfd.readouterr().out
    assert call(project, "report", "packages=mylab", f"runs={run.parent}") == 0
    assert "points: ridge on 1 held-out tasks" in capfd.readouterr().out
    assert call(project, "train", *OWN, "-m", "rule.learning_rate=0.1,0.2") == 0
    assert "1 complete before, 1 complete now" in capfd.readouterr().out


def test_its_gradients_are_checked(project, capfd, monkeypatch):
    """The gradient check of a user's problem passes; it uses one estimator to save time."""
    every = gradients.estimators
    monkeypatch.setattr(
        gradients, "estimators", lambda config: {"checkpointed": every(config)["checkpointed"]}
    )
    assert call(project, "check_gradients", *OWN) == 0
    printed = capfd.readouterr().out
    assert "checkpointed" in printed
    assert "OFF" not in printed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["problem=nothing"], "problem._target_=mylab.nothing returns a int, which is not a learner"),
        (["problem=strenght"], "there is no problem=strenght (did you mean strength?)"),
        (["+problem.strength=2"], "there is no setting problem.strength"),
        (["problem=null"], "problem=null names no problem"),
        (["task._target_=mylab.dato"], "there is no dato in"),
        (["packages=mylab,other"], "a list is written packages=[mylab,other]"),
        (["packages=[os]"], "packages=os cannot be trusted"),
        (["packages=[my lab]"], "packages="),
    ],
)
def test_what_cannot_be_is_said(project, capfd, arguments, expected):
    """The message occurs once, before anything is trained."""
    assert call(project, "train", *OWN, *arguments) == 2
    message = capfd.readouterr().err
    assert expected in message
    assert message.count("error:") == 1


def test_a_page_that_would_not_be_read_is_named(project, tmp_path, capfd):
    """A user's page with the name of one of this package is an error, because the latter comes first."""
    (tmp_path / "theirs" / "problem").mkdir(parents=True)
    (tmp_path / "theirs" / "problem" / "ridge.yaml").write_text("_target_: mylab.ridge")
    assert call(project, "train", f"--config-dir={tmp_path / 'theirs'}", "packages=mylab") == 2
    assert (
        "theirs/problem/ridge.yaml has the name of a page of this project, problem/ridge,"
        in capfd.readouterr().err
    )


def test_a_model_has_to_be_one(project, capfd):
    model = "model={_target_: mylab.nothing}"
    assert call(project, "train", "--config-dir=conf", "packages=mylab", "~model", f"+{model}") == 2
    assert (
        "model._target_=mylab.nothing returns 3, which has to be a built Keras model"
        in capfd.readouterr().err
    )
