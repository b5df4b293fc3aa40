"""A job's sweep: its group and name in Weights & Biases, and the records in its folder."""

import json

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from experiments.harness.console import console
from experiments.harness.runs.rundir import RunDirectory
from experiments.harness.sweeps import definition, membership
from experiments.harness.sweeps.setting import Job


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The second job of a sweep, in a process that Hydra has set up for it."""
    jobs = [Job(f"seed={seed}", (f"seed={seed}", "task.shots=5"), RunDirectory(tmp_path)) for seed in (0, 1)]
    place = tmp_path / "sweeps" / "mine-1234"
    definition.write(place, jobs)
    hydra = {
        "mode": RunMode.MULTIRUN,
        "sweep": {"dir": str(place)},
        "overrides": {"task": list(jobs[1].overrides)},
        "runtime": {"choices": {"hydra/launcher": "basic"}},
    }
    monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: OmegaConf.create(hydra)))
    yield place, jobs[1], hydra
    console.quiet = False


def test_it_finds_itself(job):
    place, expected, _ = job
    assert membership.own_job() == (place, expected)


def test_outside_a_sweep_there_is_none(job):
    job[2]["mode"] = RunMode.RUN
    assert membership.own_job() is None


def test_weights_and_biases_gets_the_sweep_and_what_varies(job):
    place, own, _ = job
    tracking = {"backend": "wandb", "group": None, "name": None}
    joined = membership.join({"seed": 1, "tracking": tracking}, place, own)
    assert joined == {"seed": 1, "tracking": {**tracking, "group": "mine-1234", "name": "seed=1"}}
    given = {"tracking": {"backend": "wandb", "group": "g", "name": "n"}}
    assert membership.join(given, place, own) == given
    without = {"tracking": {"backend": "none"}}
    assert membership.join(without, place, own) == without
    assert console.quiet  # its sweep says a line when it has ended


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: text.replace('"format": 1', '"format": 9'),
        lambda text: text.replace('"overrides"', '"overridden"'),
        lambda text: json.dumps({**json.loads(text), "jobs": [{"name": 1}]}),
    ],
)
def test_a_damaged_definition_is_said(job, damage):
    path = job[0] / "sweep.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(membership.definition.UsageError, match=r"sweep\.json"):
        membership.own_job()
