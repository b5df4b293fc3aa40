"""The identity of a run and its folder."""

import copy
import json

import pytest

from experiments.harness import rundir
from experiments.harness.cli import UsageError
from experiments.harness.rundir import RunDirectory


@pytest.fixture
def config(tmp_path):
    return {
        "name": "sinusoid",
        "seed": 0,
        "task": {"shots": 10},
        "evaluation": {"seed": 1},
        "tracking": {"mode": "offline"},
        "run": {"fresh": False, "checkpoint_seconds": 60},
        "paths": {"runs": str(tmp_path)},
    }


def changed(config, section, key, value):
    config = copy.deepcopy(config)
    config[section][key] = value
    return config


def test_only_what_can_change_a_result_changes_the_identity(config):
    same = [
        ("tracking", "mode", "disabled"),
        ("run", "checkpoint_seconds", 1),
        ("paths", "runs", "/elsewhere"),
    ]
    for change in same:
        assert rundir.identity(changed(config, *change)) == rundir.identity(config)
    assert rundir.identity(changed(config, "task", "shots", 5)) != rundir.identity(config)
    assert rundir.identity(changed(config, "evaluation", "seed", 2)) != rundir.identity(config)
    assert rundir.identity(config | {"seed": 1}) != rundir.identity(config)


def test_fresh_goes_beside_what_exists(config):
    run = rundir.locate(config)
    rundir.create(run, config)
    assert rundir.locate(config).path == run.path
    fresh = changed(config, "run", "fresh", True)
    second = rundir.locate(fresh)
    assert second.path.name == f"{run.path.name}-2"
    rundir.create(second, fresh)
    assert rundir.locate(fresh).path.name == f"{run.path.name}-3"


def test_configuration_and_manifest_are_read_back(config):
    run = rundir.locate(config)
    assert rundir.read_manifest(run) is None
    rundir.create(run, config)
    assert rundir.read_config(run) == config
    rundir.update_manifest(run, status="complete", iteration=3)
    manifest = rundir.read_manifest(run)
    assert (manifest["status"], manifest["iteration"]) == ("complete", 3)
    assert manifest["seeds"] == {"training": 0, "evaluation": 1}
    for key in ("command", "git", "packages", "python", "processor", "start", "end", "parameters_digest"):
        assert key in manifest
    assert manifest["packages"]["tensorflow"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({"format": 99})])
def test_other_manifests_are_refused(config, content):
    run = rundir.locate(config)
    rundir.create(run, config)
    run.manifest.write_text(content)
    with pytest.raises(
        UsageError, match=r"manifest\.json cannot be read|has format 99, this version reads 1"
    ):
        rundir.read_manifest(run)


@pytest.mark.parametrize("content", ["", "- a", "a: b: c", "a: ${b"])
def test_other_configurations_are_refused(tmp_path, content):
    run = RunDirectory(tmp_path)
    run.config.write_text(content)
    with pytest.raises(UsageError, match=r"config\.yaml"):
        rundir.read_config(run)
