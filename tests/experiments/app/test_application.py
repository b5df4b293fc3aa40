"""Invalid input: one message with the setting, the value and the remedy; exit code 2; no traceback."""

import errno
import os
import sys

import pytest
from hydra._internal.hydra import Hydra

from experiments import evaluate, train
from experiments.harness import invocation
from experiments.harness.app import application as cli
from experiments.harness.app.application import run_application
from experiments.harness.config.schema import resolve
from experiments.harness.config.settings import SETTINGS
from experiments.harness.errors import nearest

CASES = [
    # what is typed, what the message must contain
    ("task.shotz=5", ["task.shotz", "task.shots"]),
    ("taks=sinusoid", ["taks", "task"]),
    ("task=sinusoids", ["task=sinusoids", "did you mean sinusoid"]),
    ("algorithm=mamll", ["algorithm=mamll", "maml"]),
    ("+task.shotz=5", ["task.shotz", "task.shots"]),
    ("+model.hiden=[4]", ["model.hiden", "hidden"]),
    ("+traning.iterations=5", ["traning", "training"]),
    ("+evaluation.task_count=5", ["evaluation.task_count", "tasks"]),
    ("training.meta_batch_sizes=5", ["training.meta_batch_size"]),
    ("task.shots", ["task.shots has no value: write task.shots=<value>"]),
    ("maml", ["algorithm=maml"]),
    ("label=~/a", ["label=~/a cannot be parsed (at '~/a')", "in quotes, 'label=\"~/a\"'"]),
    ("task.amplitude=[1", ["task.amplitude=[1 cannot be parsed (no viable alternative", "in quotes"]),
    ("", ["'' is not of the form <setting>=<value>"]),
    ("seed =5", ["'seed =5' is not of the form <setting>=<value>"]),
    ("rule.lr=1", ["rule.lr (did you mean rule.learning_rate?)"]),
    ("+rule.lr=1", ["rule.lr (did you mean rule.learning_rate?)"]),
    ("steps=5", ["steps (did you mean learner.steps, "]),
    ("algoritm=maml", ["algoritm (did you mean algorithm?)"]),
    ("algorithm=mmal", ["algorithm=mmal (did you mean maml, "]),
    ("experiment=maml", ["experiment=maml (did you mean ", "sinusoid/maml, "]),
    ("task=maml", ["task=maml", "harmonic", "but algorithm=maml"]),
    ("task.frequency=[1,2]", ["task=sinusoid does not have it, but task=harmonic does"]),
    ("evaluation.task.shots=5", ["did you mean +evaluation.task.shots"]),
    ("optimizer.amsgrad=true", ["did you mean +optimizer.amsgrad?"]),
    ("rule.learning_rate.per=element", ["rule.learning_rate is a plain value here"]),
    ("hydra/launcher=jobib", ["hydra/launcher=jobib (did you mean joblib?)"]),
    ("hydra.sweeper.parms=1", ["hydra.sweeper.params"]),
    ("task=null", ["task=null", "names no task", "sinusoid", "task.<setting>"]),
    ("rule=[1,2]", ["rule=[1,2]", "names no rule"]),
    ("run.fresh=maybe", ["run.fresh='maybe' must be true or false"]),
    ("optimizer.clipnorm=-1", ["optimizer.clipnorm=-1 must be a finite number above 0, or null"]),
    ("learner.steps=2.5", ["learner.steps=2.5 must be an integer"]),
    ("learner.steps=null", ["learner.steps=null must be an integer"]),
    ("evaluation.tasks=1000000000", ["evaluation.tasks", "need at least", "GiB", "this machine has"]),
    ("model.hidden=[100000,1000000]", ["model.hidden", "need at least", "this machine has"]),
    ("evaluation.task.queries=0", ["evaluation.task.queries=0 must be an integer"]),
    ("run.resume=yes", ["run.resume='yes' must be one of same, changed"]),
    ("task.shots=0", ["task.shots=0", "an integer from 1 to"]),
    ("task.shots=abc", ["shots", "'abc'"]),
    ("task.queries=-3", ["queries", "-3"]),
    ("task.amplitude=[5,0.1]", ["amplitude", "wrong way round", "[0.1, 5.0]"]),
    ("task.phase=1", ["phase", "[low, high]"]),
    ("training.meta_batch_size=0", ["meta_batch_size", "0"]),
    ("training.iterations=0", ["training.iterations", "0"]),
    ("training.iterations=1.5", ["training.iterations", "1.5"]),
    ("learner.steps=-1", ["learner.steps", "-1"]),
    ("learner.adapted=heads", ["adapted", "heads", "output/kernel"]),
    ("learner.loss=mze", ["learner.loss=mze", "mse"]),
    ("model.hidden=[40,0]", ["model.hidden=[40, 0]", "at least 1"]),
    ("model.hidden=40", ["hidden", "40"]),
    ("model.activation=rellu", ["activation", "rellu"]),
    ("model.input_size=2", ["inputs of shape (2,)", "(1,)", "input size"]),
    ("model.output_size=3", ["outputs of shape (3,)", "(1,)", "output size"]),
    ("rule.learning_rate=-1", ["rule", "learning_rate", "-1"]),
    ("rule.learning_rate=nan", ["rule", "learning_rate", "nan"]),
    ("optimizer.learning_rate=inf", ["learning_rate", "inf"]),
    ("optimizer.learning_rate=0", ["learning_rate", "0"]),
    ("optimizer.learning_rate=fast", ["optimizer", "learning_rate", "fast"]),
    ("evaluation.tasks=1", ["evaluation.tasks", "1"]),
    ("evaluation.steps=-1", ["evaluation.steps", "-1"]),
    ("tracking.mode=of", ["mode", "of", "offline"]),
    ("tracking.interval=0", ["interval", "0"]),
    ("run.checkpoint_seconds=0", ["run.checkpoint_seconds", "0"]),
    ("seed=-1", ["seed", "-1"]),
    ("name=../elsewhere", ["name", "../elsewhere"]),
    ("paths.runs=/proc/nowhere", ["/proc/nowhere", "paths.runs"]),
    ("rule._target_=os.system", ["rule._target_=os.system", "not allowed"]),
    ("rule._target_=metalearn.rules.sgd.tf", ["not allowed"]),
    ("optimizer._target_=keras.optimizers.deserialize", ["not allowed"]),
    ("seed=${oc.env:NO_SUCH_VARIABLE}", ["NO_SUCH_VARIABLE"]),
]


def outcome(monkeypatch, capfd, main, config_name, *arguments):
    monkeypatch.setattr(sys, "argv", [config_name, *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_application(main, config_name)
    captured = capfd.readouterr()
    return stopped.value.code, captured.out, captured.err


def test_a_page_without_an_algorithm_does_not_have_a_setting(monkeypatch, capfd):
    code, _, printed = outcome(
        monkeypatch, capfd, train.main, "train", "experiment=rl/bandit", "task.shotz=1"
    )
    assert (code, printed.count("\n")) == (2, 1)
    assert "there is no setting task.shotz" in printed


@pytest.mark.parametrize(("argument", "expected"), CASES, ids=[case[0] for case in CASES])
def test_bad_input_gets_one_clear_message(argument, expected, monkeypatch, capfd, tmp_path):
    """Invalid input has the exit code 2 and a message that names the error, without traceback or folder."""
    runs = [] if argument.startswith("paths") else [f"paths.runs={tmp_path}"]
    code, _, message = outcome(monkeypatch, capfd, train.main, "train", argument, *runs)
    assert code == 2
    assert "Traceback" not in message
    for part in expected:
        assert part in message
    assert list(tmp_path.iterdir()) == []


ODD = """task.shots=${ = x= ~ ~seed + @: task@=x task@a:b=x seed@x=1 ~task += seed=[ task.shots={a: hydra=null
    hydra.run=null task=.. experiment=../../../etc/passwd hydra.searchpath=[nowhere://x] hydra.searchpath=3
    hydra/launcher=null +hydra.callbacks.a=3 hydra.job.name=null seed=${seed} name=${hydra:nothing}
    task.shots=${..} defaults=[a] hydra.verbose=3 hydra.job.env_copy=[NOTHERE] learner.metrics.a=a
    hydra.run.dir=/dev/null/x --resolve"""


def resolved(config):
    resolve(config)
    return 0


@pytest.mark.parametrize("word", [*ODD.split(), "a=" + "[" * 500, "a" * 5000 + "=1"])
def test_odd_words_get_a_message(word, monkeypatch, capfd, tmp_path):
    """Errors that Hydra raises before a task starts have the exit code 2 and one message."""
    monkeypatch.chdir(tmp_path)
    code, _, message = outcome(monkeypatch, capfd, resolved, "train", word)
    assert code == 2
    assert "Traceback" not in message
    assert message.startswith("error: ")
    if "no configuration can be composed" in message:  # Hydra's own words may not say of what
        assert word[:40] in message


def test_a_disk_that_is_full_before_anything_begins_is_said(monkeypatch, capfd):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "outputs")

    monkeypatch.setattr(Hydra, "run", full)
    code, _, message = outcome(monkeypatch, capfd, train.main, "train")
    assert (code, message) == (1, "error: outputs: No space left on device\n")


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, 1), (errno.EROFS, 1), (errno.ENAMETOOLONG, 2)]
)
def test_what_is_wrong_with_a_disk_or_a_path_is_said(monkeypatch, capfd, number, expected):
    def fail(_):
        raise OSError(number, os.strerror(number), "a/b")

    code, _, message = outcome(monkeypatch, capfd, fail, "train")
    assert (code, message) == (expected, f"error: a/b: {os.strerror(number)}\n")


@pytest.mark.parametrize(("command", "setting"), [("train", "paths.runs"), ("evaluate", "run")])
def test_a_path_that_no_file_system_has_is_bad_input(monkeypatch, capfd, tmp_path, command, setting):
    main = {"train": train.main, "evaluate": evaluate.main}[command]
    code, _, message = outcome(monkeypatch, capfd, main, command, f"{setting}={tmp_path / ('x' * 300)}")
    assert code == 2
    assert message.count("\n") == 1
    assert "File name too long" in message or "is not the folder of a run" in message


def test_a_sweep_without_a_code_of_its_own_has_the_worst_of_its_jobs(monkeypatch, capfd):
    codes = iter([0, 2, 1])
    code, _, _ = outcome(monkeypatch, capfd, lambda _: next(codes), "evaluate", "-m", "run=a,b,c")
    assert code == 2


def test_an_interruption_before_and_between_jobs_is_said_once(monkeypatch, capfd):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    code, _, message = outcome(monkeypatch, capfd, interrupt, "evaluate", "-m", "run=a,b")
    assert (code, message) == (130, "interrupted\n")
    monkeypatch.setattr(Hydra, "run", interrupt)
    code, _, message = outcome(monkeypatch, capfd, train.main, "train")
    assert (code, message) == (130, "interrupted\n")


def test_the_command_that_resumes_does_not_start_a_new_run(monkeypatch):
    monkeypatch.setenv(invocation.COMMAND, "python -m experiments.train run.fresh=true 'label=a b' seed=1")
    assert invocation.resuming() == "python -m experiments.train 'label=a b' seed=1"


def test_a_fault_of_ours_is_not_called_bad_input(monkeypatch):
    def fault(config):
        raise AssertionError("ours")

    monkeypatch.setattr(sys, "argv", ["train"])
    with pytest.raises(AssertionError, match="ours"):
        run_application(fault, "train")


def test_evaluate_names_a_folder_that_is_no_run(monkeypatch, capfd, tmp_path):
    code, _, message = outcome(monkeypatch, capfd, evaluate.main, "evaluate", f"run={tmp_path}")
    assert code == 2
    assert str(tmp_path) in message
    assert "config.yaml" in message


def test_evaluate_asks_for_the_run(monkeypatch, capfd):
    code, _, message = outcome(monkeypatch, capfd, evaluate.main, "evaluate")
    assert code == 2
    assert "run=... must be given" in message


def test_nearest_names_what_is_near_or_all():
    assert nearest("shotz", ["shots", "queries"]) == " (did you mean shots?)"
    assert nearest("zzz", ["b", "a"]) == " (there is a, b)"
    assert nearest("", ["b", "a"]) == " (there is a, b)"
    assert nearest("zzz", [*SETTINGS]) == ""


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr", ["rule.learning_rate", "optimizer.learning_rate"]),
        ("rule.lr", ["rule.learning_rate"]),
        ("rule.learn_rate", ["rule.learning_rate"]),
        ("steps", ["learner.steps"]),
        ("shots", ["task.shots"]),
        ("batch_size", ["training.meta_batch_size"]),
        ("training.batch_size", ["training.meta_batch_size"]),
        ("iters", ["training.iterations"]),
        ("wd", ["rule.weight_decay", "optimizer.weight_decay"]),
        ("traning.iterations", ["training.iterations"]),
        ("training.steps", ["learner.steps"]),
        ("SEED", ["seed"]),
    ],
)
def test_settings_are_found_by_their_names_and_abbreviations(typed, meant):
    hint = nearest(typed, [*SETTINGS])
    assert all(each in hint for each in meant)
    assert hint.startswith(" (did you mean ")


def test_a_sweep_keeps_its_name_whatever_does_not_matter(monkeypatch):
    def name(*words):
        monkeypatch.setattr(sys, "argv", ["train", "-m", *words])
        return cli._sweep_id()

    same = [
        ("seed=0,1", "rule=sgd"),
        ("rule=sgd", "seed=0,1"),
        ("seed=0,1", "rule=sgd", "hydra/launcher=ray"),
    ]
    assert len({name(*words) for words in same}) == 1
    assert name(*same[0]).startswith("sweep-")
    assert name("seed=0,2", "rule=sgd") != name(*same[0])
    assert name("sweep=a", "seed=0").startswith("a-")
    assert name("sweep=a", "sweep=../b").startswith("---b-")
