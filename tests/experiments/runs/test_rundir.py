"""The identity of a run and its folder."""

import copy
import json

import pytest

from experiments.harness.errors import UsageError
from experiments.harness.runs import identity, rundir


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


def make(run, config):
    rundir.create(run, config)


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
        assert identity.training(changed(config, *change)) == identity.training(config)
    assert identity.training(changed(config, "task", "shots", 5)) != identity.training(config)
    assert identity.training(changed(config, "evaluation", "seed", 2)) == identity.training(config)
    assert not identity.same_evaluation(changed(config, "evaluation", "seed", 2), config)
    assert identity.training(config | {"seed": 1}) != identity.training(config)


def test_fresh_goes_beside_what_exists(config):
    run = rundir.locate(config)
    make(run, config)
    assert rundir.locate(config).path == run.path
    fresh = changed(config, "run", "fresh", True)
    second = rundir.locate(fresh)
    assert second.path.name == f"{run.path.name}-2"
    make(second, fresh)
    assert rundir.locate(fresh).path.name == f"{run.path.name}-3"
    assert rundir.locate(config).path == second.path, "it is the one that an interruption leaves"


def test_configuration_and_manifest_are_read_back(config):
    run = rundir.locate(config)
    assert rundir.read_manifest(run) is None
    make(run, config)
    rundir.update_manifest(run, status="complete", iteration=3)
    found, manifest = rundir.read(run)
    assert found == config
    assert (manifest["status"], manifest["iteration"]) == ("complete", 3)
    assert manifest["seeds"] == {"training": 0, "evaluation": 1}
    assert manifest["code"]["digest"]
    for key in ("command", "code", "packages", "python", "processor", "threads", "start", "end", "resumed"):
        assert key in manifest
    assert manifest["packages"]["tensorflow"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({"format": 99})])
def test_other_manifests_are_refused(config, content):
    run = rundir.locate(config)
    make(run, config)
    run.manifest.write_text(content)
    with pytest.raises(
        UsageError, match=r"manifest\.json cannot be read|has format 99, this version reads 3"
    ):
        rundir.read_manifest(run)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is not a configuration"),
        ("- a", "is not a configuration"),
        ("a: b: c", "mapping values are not allowed"),
        ("a: ${b", "it has interpolations"),
        ("a: ${oc.env:HOME}", "it has interpolations"),
        ("a: ${b}\nb: 1", "it has interpolations"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "it has aliases"),
        ("a: !!python/object/apply:os.getcwd []", "it has aliases or tags"),
        ("a: !!binary aGVsbG8=", "it has aliases or tags"),
        ("a: !!timestamp 2020-01-01", "it has aliases or tags"),
        (f"a: 0x{'f' * 5000}", "Exceeds the limit"),
        ("\0", "cannot be read"),
    ],
)
def test_other_configurations_are_refused(config, content, reason):
    run = rundir.locate(config)
    make(run, config)
    run.config.write_text(content)
    rundir.update_manifest(run, config=identity.digest({"a": "b"}))
    with pytest.raises(UsageError, match=rf"config\.yaml.*{reason}"):
        rundir.read(run)


@pytest.mark.parametrize("key", ["status", "identity", "resumed", "afterwards", "iteration"])
def test_a_manifest_that_lacks_what_every_one_has_is_refused(config, key):
    run = rundir.locate(config)
    make(run, config)
    rundir.update_manifest(run, **{key: None})
    with pytest.raises(UsageError, match=f"it has no {key}"):
        rundir.read_manifest(run)


def test_what_was_changed_afterwards_is_noticed(config):
    run = rundir.locate(config)
    make(run, config)
    written = run.manifest.read_text()
    run.manifest.write_text(written.replace('"status": "running"', '"status": "complete"'))
    with pytest.raises(UsageError, match=r"manifest\.json is damaged"):
        rundir.read_manifest(run)
    run.manifest.write_text(written)
    run.config.write_text(run.config.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(UsageError, match="is not the configuration that"):
        rundir.read(run)
    run.manifest.unlink()
    run.metrics.write_text("iteration\n")
    with pytest.raises(UsageError, match="results but no manifest"):
        rundir.create(run, config)


def test_results_that_were_changed_afterwards_are_noticed(config):
    run = rundir.locate(config)
    make(run, config)
    for path in (run.metrics, run.evaluation, run.losses):
        path.write_text("as it was")
    manifest = {"files": rundir.checksums(run)}
    run.evaluation.write_text("otherwise")
    run.losses.unlink()
    rundir.require_unchanged(run, manifest, run.metrics)
    for path, problem in ((run.evaluation, "is damaged"), (run.losses, "cannot be read")):
        with pytest.raises(UsageError, match=f"{path.name} {problem}"):
            rundir.require_unchanged(run, manifest, path)
