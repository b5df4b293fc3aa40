"""``--help``: exactly the settings of a command, on 80 columns, with valid examples."""

import importlib
import os
import re
import shlex
import subprocess
import sys

import hydra
import pytest
from hydra._internal.hydra import Hydra

import metalearn as ml
from experiments import __main__ as console
from experiments.harness.app.application import CONFIGS, run_application
from experiments.harness.config.settings import TAKEN


@pytest.fixture
def shown(monkeypatch, capfd):
    """Return a function that runs a command in this process and returns what it printed."""

    # What it would list itself takes most of the time, and is no part of the page.
    monkeypatch.setattr(Hydra, "format_config_groups", lambda *_: "")

    def run(command, *arguments):
        monkeypatch.setattr(sys, "argv", [command, *arguments])
        with pytest.raises(SystemExit) as stopped:
            run_application(importlib.import_module(f"experiments.{command}").main, command)
        assert not stopped.value.code
        return capfd.readouterr().out

    return run


def settings(text):
    part = text[text.index("\nSettings") : text.index("\nExamples")]
    return re.findall(r"^  ([a-z_0-9.]+)(?:=(\S+))?(?:  |$)", part, re.MULTILINE)


@pytest.mark.parametrize("command", TAKEN)
def test_help_is_of_what_the_command_takes(command, shown):
    text = shown(command, "--help")
    assert max(map(len, text.splitlines())) <= 80
    assert f"usage: python -m experiments.{command} [" in text
    assert "Powered by Hydra" not in text
    assert "--hydra-help" in text
    sections = {path.partition(".")[0] for path in TAKEN[command]}
    found = [path for path, _ in settings(text)]
    assert found
    assert {path.partition(".")[0] for path in found} <= sections
    if command in ("reproduce", "report", "audit_keras", "benchmark"):
        assert set(found) == {*TAKEN[command]}
        assert "group=option" not in text
    examples = re.findall(rf"^  (python -m experiments\.{command}.*)$", text, re.MULTILINE)
    assert 2 <= len(examples) <= 4
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for example in examples:
            _, _, _, *words = shlex.split(example.replace("<id>", "id"))
            values = [word.split(",")[0] if "-m" in words else word for word in words if "=" in word]
            hydra.compose(command, values)


def test_help_of_the_training(shown):
    """The help lists options of groups, and value, kind and description of settings."""
    text = shown("train", "--help")
    assert re.search(r"^  task=sinusoid +(\w+, )+harmonic,", text, re.MULTILINE)
    assert "sinusoid/truncated_maml" in text
    assert re.search(r"^  hydra/launcher=basic +basic", text, re.MULTILINE)
    assert "learner.steps=1 " in text
    assert "inner steps while training; 0 is ordinary" in text
    assert "(an integer from 0)" in text
    values = dict(settings(text))
    assert (values["model.hidden"], values["evaluation.task.grid"]) == ("[40,40]", "true")
    assert values["training.carry"] == "null"


def test_help_shows_what_is_chosen(shown):
    text = shown("train", "task=harmonic", "algorithm=meta_sgd", "learner.steps=3", "--help")
    values = dict(settings(text))
    assert values["learner.steps"] == values["validation.steps"] == "3"
    assert values["task.frequency"] == "[5.0,7.0]"
    assert "task.amplitude" not in values
    assert values["rule.learning_rate.per"] == "element"


def test_evaluation_shows_what_can_be_changed_of_a_run(shown):
    values = dict(settings(shown("evaluate", "--help")))
    assert values["task.shots"] == values["evaluation.steps"] == ""
    assert values["run"] == "..."


def test_hydra_s_own_help_is_there(tmp_path):
    """``--hydra-help`` prints Hydra's own help.

    It runs in a separate process, because Hydra's loggers write to the captured terminal here.
    """
    command = [sys.executable, "-m", "experiments.train", "--hydra-help"]
    environment = {**os.environ, "PYTHONPATH": str(CONFIGS.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "--multirun" in done.stdout


@pytest.mark.parametrize("option", ["--version", "-v"])
def test_the_version_is_that_of_the_package(monkeypatch, capsys, option):
    monkeypatch.setattr(sys, "argv", ["metalearn", option])
    with pytest.raises(SystemExit) as ended:
        console.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == ["metalearn", ml.__version__]
