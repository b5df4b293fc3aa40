"""Untrusted configuration files are always examined, and their size is bounded."""

from __future__ import annotations

import os
import re
import shutil

import pytest

from experiments.harness.config import trust
from experiments.harness.config.trust import CONFIGS
from experiments.harness.errors import UsageError
from tests.experiments.small_runs import SHORT, run

OF_HYDRA = {
    "callbacks": "hydra:\n  callbacks:\n    a: {_target_: os.system, command: touch evil}\n",
    "logging": "hydra: {job_logging: {handlers: {a: {(): os.system, command: touch evil}}}}\n",
    "sweeper": "hydra: {sweeper: {_target_: os.system}}\n",
    "values and more": "hydra: {sweeper: {params: {seed: '1,2'}, _target_: os.system}}\n",
    "environment": "hydra: {job: {env_set: {PYTHONPATH: evil}}}\n",
    "escaped": '"\\x68ydra": {callbacks: {}}\n',
    "quoted": "'hydra': {callbacks: {}}\n",
    "package": "# @package hydra.callbacks\na: {_target_: os.system}\n",
    "launcher": "defaults:\n  - override /hydra/launcher: evil\n",
    "into a package": "defaults:\n  - other@hydra.callbacks: evil\n",
    "into a package, globally": "defaults:\n  - /other@_global_.hydra.callbacks: evil\n",
}

NOT_READ = {
    "alias": "a: &a [x, x]\nb: *a\n",
    "tag": "a: !!python/object/apply:os.getcwd []\n",
    "resolver": "label: ${oc.env:HOME}\n",
    "nested resolver": "label: ${oc.${seed}:HOME}\n",
    "no YAML": "a: b: ${c}\n",
}


@pytest.fixture
def strange(tmp_path, monkeypatch):
    """An untrusted folder, and the working folder of commands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strange" / "experiment").mkdir(parents=True)
    return tmp_path / "strange"


@pytest.mark.parametrize("text", OF_HYDRA.values(), ids=OF_HYDRA)
def test_what_is_hydra_s_own_is_not_a_file_s(strange, capfd, text):
    (strange / "experiment" / "mine.yaml").write_text(text)
    assert run(None, [f"--config-dir={strange}", "experiment=mine"]) == 2
    message = capfd.readouterr().err
    assert "mine.yaml" in message
    assert "only allowed in the files of this project and on the command line" in message
    assert "Traceback" not in message
    assert [path.name for path in strange.parent.iterdir()] == ["strange"]


@pytest.mark.parametrize("text", NOT_READ.values(), ids=NOT_READ)
def test_files_hold_settings_and_nothing_else(strange, text):
    (strange / "mine.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"mine\.yaml"):
        trust.examined(strange / "mine.yaml")


WAYS = {
    "folder": ["--config-dir={}", "experiment=mine"],
    "two words": ["--config-dir", "{}", "experiment=mine"],
    "short": ["-cd={}", "experiment=mine"],
    "shortened": ["--config-d={}", "experiment=mine"],
    "search path": ["hydra.searchpath=[file://{}]", "experiment=mine"],
    "search path without a scheme": ["hydra.searchpath=[{}]", "experiment=mine"],
    "path upwards": ["experiment=../../../../../../../../../..{}/experiment/mine"],
    "link to a folder": ["--config-dir={}", "experiment=folder/mine"],
    "link to a file": ["--config-dir={}", "experiment=linked"],
    "path upwards in a file": ["--config-dir={}", "experiment=upwards"],
}


@pytest.mark.parametrize("words", WAYS.values(), ids=WAYS)
def test_a_file_is_examined_however_it_is_reached(strange, capfd, words):
    experiments = strange / "experiment"
    (experiments / "mine.yaml").write_text(OF_HYDRA["callbacks"])
    elsewhere = strange.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.yaml").write_text(OF_HYDRA["callbacks"])
    (experiments / "folder").symlink_to(elsewhere)
    (experiments / "linked.yaml").symlink_to(elsewhere / "mine.yaml")
    (experiments / "upwards.yaml").write_text("defaults: [../../elsewhere/mine]\n")
    assert run(None, [word.format(strange) for word in words]) == 2
    message = capfd.readouterr().err
    assert "mine.yaml has 'callbacks" in message or 'mine.yaml has "hydra: ' in message
    assert "Traceback" not in message
    assert not (strange.parent / "evil").exists()


CALLBACKS = "a: {_target_: os.system, command: touch evil}\n"

PLACES = {
    "Hydra's main file": ({"hydra/config.yaml": f"callbacks: {{{CALLBACKS.strip()}}}"}, []),
    "Hydra's launcher": ({"hydra/launcher/basic.yaml": CALLBACKS}, []),
    "a group of Hydra's": ({"hydra/callbacks/mine.yaml": CALLBACKS}, ["hydra/callbacks=mine"]),
    "a section of Hydra's": ({"hydra.callbacks/mine.yaml": CALLBACKS}, ["+hydra.callbacks=mine"]),
    "out of Hydra's package": (
        {
            "experiment/mine.yaml": f"defaults: ['/{'../' * 30}{{}}/elsewhere/mine@_global_']",
            "elsewhere/mine.yaml": OF_HYDRA["callbacks"],
        },
        ["experiment=mine"],
    ),
    "packages by a header": ({"experiment/mine.yaml": "# @package packages\n- os\n"}, ["experiment=mine"]),
    "packages by a list": (
        {"experiment/mine.yaml": "defaults: [/mine@_global_.packages]", "mine.yaml": "- os\n"},
        ["experiment=mine"],
    ),
    "packages by a place": ({"packages/mine.yaml": "- os\n"}, ["+packages=mine"]),
    "a path that is put together": (
        {
            "experiment/hydr.yaml": "defaults: [/top]",
            "top.yaml": "defaults: ['${experiment}a/callbacks/mine']",
        },
        ["experiment=hydr"],
    ),
}
"""Files that Hydra would take for its own by where they are, or that it would read unexamined."""


@pytest.mark.parametrize(("files", "words"), PLACES.values(), ids=PLACES)
def test_no_place_makes_a_file_hydra_s_own(strange, capfd, files, words):
    for name, text in files.items():
        (strange / name).parent.mkdir(parents=True, exist_ok=True)
        (strange / name).write_text(text.replace("{}", str(strange)[1:]))
    assert run(None, [f"--config-dir={strange}", *words]) == 2
    message = capfd.readouterr().err
    assert re.search("this project and on the command line|not in a file|in its defaults", message)
    assert "Traceback" not in message
    assert [path.name for path in strange.parent.iterdir()] == ["strange"]


NAMELESS = {
    "a tab": "a:\n\tb: 1\n",
    "a key twice": "a: 1\na: 2\n",
    "a number": "3\n",
    "a key that is none": "null: 2\n",
    "a header": "# @package a b\n",
    "depth": "a: " + "[" * 3000 + "]" * 3000,
}


@pytest.mark.parametrize("text", NAMELESS.values(), ids=NAMELESS)
def test_a_file_that_cannot_be_read_is_named(strange, text):
    (strange / "mine.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"mine\.yaml cannot be read: "):
        trust.examined(strange / "mine.yaml")


def test_a_pipe_among_files_is_not_waited_for(strange, capfd):
    os.mkfifo(strange / "experiment" / "mine.yaml")
    assert run(None, [f"--config-dir={strange}", "experiment=mine"]) == 2
    assert "mine.yaml is not a regular file and is not read" in capfd.readouterr().err


def test_files_that_lead_to_themselves_are_refused_in_a_sweep_too(strange, capfd):
    (strange / "experiment" / "mine.yaml").write_text("defaults: [mine]\n")
    for words in (["experiment=mine"], ["-m", "experiment=mine,sinusoid/maml", "seed=0,1"]):
        assert run(strange.parent / "runs", [f"--config-dir={strange}", *words]) == 2
        message = capfd.readouterr().err
        assert "no configuration can be composed" in message
        assert "experiment=mine" in message
        assert "Traceback" not in message


@pytest.mark.parametrize("scheme", ["pkg", "structured"])
def test_packages_are_not_imported_for_their_files(strange, capfd, monkeypatch, scheme):
    monkeypatch.syspath_prepend(strange.parent)
    (strange / "theirs").mkdir()
    (strange / "theirs" / "__init__.py").write_text("open('evil', 'w')")
    assert run(None, [f"hydra.searchpath=[{scheme}://strange.theirs]"]) == 2
    assert f"{scheme}://strange.theirs: packages would be imported" in capfd.readouterr().err
    assert not (strange.parent / "evil").exists()


def test_files_beside_ours_are_held_to_the_same(tmp_path, monkeypatch):
    """Only this project's own files may hold settings of Hydra, and presets values of the sweeper."""
    for path in CONFIGS.rglob("*.yaml"):
        trust.examined(path)
    monkeypatch.setattr(trust, "CONFIGS", tmp_path)
    for name in ("sweep", "experiment", "hydra"):
        (tmp_path / name).mkdir()
    for name in ("hydra/mine.yaml", "mine.yaml"):
        (tmp_path / name).write_text(OF_HYDRA["callbacks"])
        trust.examined(tmp_path / name)
    preset = tmp_path / "sweep" / "mine.yaml"
    preset.write_text("# @package _global_\nhydra: {sweeper: {params: {seed: '1,2'}}}\n")
    trust.examined(preset)
    for params in (
        "'+experiment@hydra.callbacks': mine",
        "label: '$\\{oc.env:HOME\\}'",
        "label: '${oc.env:HOME}'",
    ):
        preset.write_text(f"# @package _global_\nhydra: {{sweeper: {{params: {{{params}}}}}}}\n")
        with pytest.raises(UsageError, match=r"sweep/mine\.yaml has"):
            trust.examined(preset)
    preset.write_text(OF_HYDRA["values and more"])
    link = tmp_path / "experiment" / "link.yaml"
    link.symlink_to(preset)
    for path in (preset, link):
        with pytest.raises(UsageError, match=r"sweep/mine\.yaml"):
            trust.examined(path)
    (tmp_path / "experiment" / "mine.yaml").write_text(OF_HYDRA["callbacks"])
    with pytest.raises(UsageError, match=r"experiment/mine\.yaml"):
        trust.examined(tmp_path / "experiment" / "mine.yaml")


def test_a_large_file_is_not_read(strange, capfd):
    with (strange / "experiment" / "mine.yaml").open("wb") as file:
        file.truncate(2**40)
    assert run(None, [f"--config-dir={strange}", "experiment=mine"]) == 2
    assert "mine.yaml" in capfd.readouterr().err


@pytest.mark.parametrize(
    "option", ["-cp=.", "--config-path=.", "--config-p=.", "-cn=a", "--config-name=a", "--exp=a"]
)
def test_the_main_configuration_is_ours(option, capfd):
    assert run(None, [option]) == 2
    assert "is not allowed: the main configuration" in capfd.readouterr().err


def test_a_stranger_s_settings_work(strange, short, capfd):
    """Settings in an untrusted file give the same run as on the command line."""
    lines = ["# @package _global_", "defaults:", "  - override /rule: sgd", "rule: {learning_rate: 0.01}"]
    (strange / "experiment" / "mine.yaml").write_text("\n".join(lines))
    runs = strange.parent / "runs"
    shutil.copytree(short[0].path, runs / "sinusoid" / short[0].path.name)
    assert run(None, [f"--config-dir={strange}", *SHORT, f"paths.runs={runs}", "experiment=mine"]) == 0
    assert "complete since" in capfd.readouterr().out
