"""Every command and example of README and pages runs, with fewer iterations, in this environment."""

import importlib
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from omegaconf import OmegaConf

import metalearn
from experiments.harness.app.application import run_application
from experiments.harness.config import preparation
from experiments.harness.config.build import build_trainer
from experiments.harness.session import results
from experiments.tools import gradients
from experiments.tools.audit import report as audit
from experiments.tools.benchmark import report
from tests.documents import DOCUMENTS, GUIDE, README, RESULTS, ROOT, TEXT
from tests.experiments.small_runs import quick_programs

SETUP = r"python3 -m venv \.venv && \.venv/bin/pip install [^&]*"

SHORT = ["training.iterations=6", "model.hidden=[4]", "training.meta_batch_size=2", "evaluation.tasks=4"]
SHORT += ["evaluation.steps=1", "training.jit_compile=false"]

SHORTER = {
    "sweep=sinusoid_algorithms": ["experiment=sinusoid/maml", "seed=0"],
    "hydra/sweeper=optuna": ["hydra.sweeper.trials=2", "validation.tasks=4"],
    "sweep=rule_search": ["validation.interval=2"],
}
"""What makes a sweep or a search a short one."""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quick_programs():
        yield


@pytest.fixture
def execute(monkeypatch, capfd):
    """Return a function that runs ``python -m module ...`` in this process and returns what it printed."""

    def run(arguments):
        program, flag, module, *rest = arguments
        assert (Path(program).name, flag) == ("python", "-m")
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [module, *rest])
        with pytest.raises(SystemExit) as stopped:
            run_application(importlib.import_module(module).main, module.rpartition(".")[2])
        assert not stopped.value.code
        return capfd.readouterr().out

    return run


def commands():
    lines = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_two_commands_set_everything_up_by_themselves():
    main, tests = (line for line in commands() if line.startswith("python3 -m venv"))
    assert re.fullmatch(rf"{SETUP}&& \.venv/bin/python -m experiments\.train", main)
    assert re.fullmatch(rf"{SETUP}&& \.venv/bin/python -m pytest", tests)
    assert "[test]" in tests


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


TRAINING = [line for line in commands() if "experiments.train" in line]

LIKE_OTHERS = (
    "learner.steps=5",
    "algorithm=fomaml",
    "algorithm=cavia",
    "task=harmonic",
    "optimizer.clipnorm",
    "estimator=implicit",
    "hydra/",
    "tracking=tensorboard",
    "experiment=sinusoid/maml",
    "diagnostics.interval=100",
    "training.workers",
)
"""What these commands do is tested elsewhere, or done by the others here: they wait for the slow tests."""


def unchecked(config):
    """Return the trainer of a configuration, whose derivatives are not checked."""
    return build_trainer({**config, "run": {**config["run"], "check_derivatives": False}})


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(line, marks=[pytest.mark.slow] * any(part in line for part in LIKE_OTHERS))
        for line in TRAINING
    ],
)
def test_training_commands_work(command, runs, execute, monkeypatch):
    """Training commands run; the first also draws its figures and checks derivatives."""
    if command != TRAINING[0]:
        monkeypatch.setattr(results, "draw", lambda *_: {})
        monkeypatch.setattr(preparation, "build_trainer", unchecked)
    arguments = shlex.split(re.sub(f"^{SETUP}&& ", "", command))
    for argument in list(arguments):
        arguments += SHORTER.get(argument, [])
    if not any(argument.startswith("diagnostics.") for argument in arguments):
        # Others are diagnosed once, which takes longer than they.
        arguments.append("diagnostics.interval=null")
    if "--help" not in arguments:
        arguments += [*SHORT, f"paths.runs={runs}"]
    printed = execute(arguments)
    # Two commands for one configuration name one run: the second finds it complete.
    ends = "training took", "complete since", "jobs: "
    assert "--help" in arguments or any(end in printed for end in ends)


def is_plain(rule):
    return rule._target_ == "metalearn.rules.sgd" and isinstance(rule.learning_rate, float)


def test_evaluation_commands_work(runs, execute):
    """Evaluation commands run on a run of the training commands that has a constant inner learning rate."""
    complete = [path.parent for path in (runs / "sinusoid").glob("*/evaluation.json")]
    run = min(each for each in complete if is_plain(OmegaConf.load(each / "config.yaml").rule))
    found = [line for line in commands() if "experiments.evaluate" in line]
    assert found
    for line in found:
        arguments = shlex.split(line.replace("runs/sinusoid/<id>", str(run)))
        assert "kept in" in execute([*arguments, "evaluation.tasks=4"])


def test_reproduction_works(runs, execute):
    """The reproduction command runs on a run of the training commands."""
    run = min(path for path in (runs / "sinusoid").iterdir() if (path / "evaluation.json").exists())
    line = " ".join(only("reproduce")).replace("runs/sinusoid/<id>", str(run))
    assert "same: " in execute(shlex.split(line))


def only(module):
    """Return the arguments of the one command of the README that runs a module."""
    (line,) = [line for line in commands() if f"experiments.{module}" in line]
    return shlex.split(line)


def test_the_gradient_check_works(execute, monkeypatch):
    """The gradient check runs; it uses one estimator to save time."""
    every = gradients.estimators
    monkeypatch.setattr(
        gradients, "estimators", lambda config: {"checkpointed": every(config)["checkpointed"]}
    )
    assert "exact" in execute([*only("check_gradients"), "model.hidden=[4]", "learner.steps=1"])


@pytest.mark.slow
def test_the_benchmark_works(execute, monkeypatch, tmp_path):
    """The benchmark runs, with one program of one size."""
    monkeypatch.setattr(report, "TRAINING", {"metalearn": "tensorflow"})
    monkeypatch.setattr(report, "ESTIMATORS", ())
    short = ["training.inner_steps=[1]", "training.width=4", "training.rounds=1", "estimators.widths=[]"]
    short += ["start.inner_steps=[]", "workers.counts=[]"]
    line = next(line for line in commands() if line.startswith("python -m experiments.benchmark "))
    assert "kept in" in execute([*shlex.split(line), *short, f"paths.runs={tmp_path}"])


def test_the_audit_of_keras_works(execute, monkeypatch, tmp_path):
    """The audit of Keras runs on two cases, and writes into a copy of its page."""
    page = RESULTS / "keras_derivatives.md"
    copy = tmp_path / page.name
    copy.write_text(page.read_text())
    every = audit.cases()
    monkeypatch.setattr(audit, "cases", lambda: every[:2])
    monkeypatch.setattr(audit, "SECTIONS", ())
    arguments = [argument.replace(str(page.relative_to(ROOT)), str(copy)) for argument in only("audit_keras")]
    execute(arguments)
    assert copy.read_text() != page.read_text()
    assert "2 cases" in copy.read_text()


def test_the_report_works(runs, execute, tmp_path):
    """The reports run on all runs of the training commands, and write into a copy of the page."""
    page = RESULTS / "sinusoid.md"
    copy = tmp_path / page.name
    copy.write_text(page.read_text())
    of_sweep, of_all = [line for line in commands() if "experiments.report" in line]
    line = of_all.replace(str(page.relative_to(ROOT)), str(copy)).replace("runs/algorithms", str(runs))
    assert "tables written" in execute(shlex.split(line))
    place = min(path.parent for path in (runs / "sweeps").glob("*/sweep.json"))
    assert "index.html" in execute(shlex.split(of_sweep.replace("runs/sweeps/<id>", str(place))))
    assert "| maml | 1 | " in copy.read_text()
    (notebook,) = [text for text in blocks("python") if text.startswith("from experiments import results")]
    exec(notebook.replace("runs/sweeps/<id>", str(place)), names := {})
    assert names["runs"]["loss_1"].notna().all()


def test_the_offline_run_can_be_read_with_wandb(runs):
    """The command that reads an offline run of W&B prints its metrics."""
    pytest.importorskip("wandb", minversion="0.31", reason="wandb leet inspect --summary came with 0.31")
    run = min((runs / "sinusoid").glob("*/wandb"))
    (line,) = [line for line in commands() if "leet inspect" in line]
    arguments = shlex.split(line.replace("runs/sinusoid/<id>/wandb", str(run)))
    program = Path(sys.executable).with_name(arguments[0])
    printed = subprocess.run(
        [program, *arguments[1:]], capture_output=True, text=True, timeout=60, check=True
    )
    assert "outer/loss" in printed.stdout


def test_the_table_of_diagnoses_is_the_library_s():
    for name, text in metalearn.diagnostics.MEANINGS.items():
        row = " | ".join(part.replace("|", "\\|") for part in text.split("; "))
        assert f"| `{name}` | {row} |" in (GUIDE / "meta_gradients.md").read_text()


def test_no_command_is_left_untested():
    """Commands that no test runs need an account, a terminal or a new shell."""
    others = [line for line in commands() if "experiments." not in line and "pytest" not in line]
    by_hand = (
        "wandb login",
        "wandb leet",
        "WANDB_RESUME=allow wandb sync",
        "source ",
        "pip install ",
        "tensorboard --logdir",
    )
    # In the own project, which tests/experiments/test_own_project.py makes; in tests/test_reference.py.
    elsewhere = ("metalearn ", "python -m pdoc ")
    assert all(line.startswith((*by_hand, *elsewhere)) for line in others)


def test_the_library_examples_run(tmp_path, monkeypatch, capfd):
    """The examples of the library run one after the other, as the second needs imports of the first."""
    _, learning, watched, penalty = (
        text for text in blocks("python") if not text.startswith(("# mylab/", "from experiments"))
    )
    shorter = f"{learning}\nquery_loss = report.mean\n{watched}".replace("iterations=1000", "iterations=5")
    shorter = shorter.replace("num_tasks=100", "num_tasks=5").replace("interval=500", "interval=3")
    path = tmp_path / "example.py"
    path.write_text(f"{shorter}\nlearned = trainer.meta\n{penalty}")
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(path))
    captured = capfd.readouterr()
    printed = captured.out
    assert str(names["query_loss"]) in printed
    assert "iteration 10/10  query loss" in captured.err
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + 5
    found = np.load(tmp_path / "meta.npz")["meta/parameters/output/kernel"]
    np.testing.assert_array_equal(found, names["learned"]["parameters"]["output/kernel"])
    assert names["outputs"].shape == (25, 10, 1)
    assert "log_l2" in printed
    assert names["trainer"].meta["log_l2"] > -2  # noise is fitted less with a stronger penalty


# Keras saves variables by np.array(variable), which NumPy 2 warns of.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_ten_lines_of_the_readme_run(tmp_path, monkeypatch):
    """The first example of the README runs, and its saved model equals the adapted one."""
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(example.replace("iterations=1000", "iterations=5"), names := {})
    loaded, adapted, x = keras.models.load_model("adapted.keras"), names["adapted"], names["x"]
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), adapted.predict(x, verbose=0))
    initial = names["learner"].to_keras(names["trainer"].meta)
    assert np.abs(adapted(x) - initial(x)).max() > 1e-3


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 180


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document):
    links = re.findall(
        r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    )
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing
