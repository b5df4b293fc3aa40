"""Jobs in other processes: in parallel, killed and restarted, requeued, shared by workers."""

import os
import re
import signal
import time

import joblib
import pytest
from omegaconf import OmegaConf

from experiments.harness.errors import UsageError
from experiments.harness.runs import rundir
from experiments.harness.sweeps.launchers import REQUESTS, make_room
from tests.documents import GUIDE
from tests.experiments.small_runs import run
from tests.experiments.sweeps.commands import contents, finished, start, sweep_of

TWO = ["algorithm=maml,fomaml", "training.iterations=3000"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same jobs in one process, one after the other."""
    runs = tmp_path_factory.mktemp("whole")
    finished(runs, TWO)
    return contents(runs)


@pytest.mark.slow
def test_joblib_runs_jobs_with_one_thread_each(tmp_path, whole):
    printed = finished(tmp_path, [*TWO, "hydra/launcher=joblib"])
    assert contents(tmp_path) == whole
    assert "complete: algorithm=maml" in printed
    assert "query loss" not in printed
    for job in sweep_of(tmp_path):
        manifest = rundir.read_manifest(job.run)
        assert manifest["environment"]["TF_NUM_INTRAOP_THREADS"] == "1"
        assert manifest["command"].startswith("python -m experiments.train -m algorithm=maml,fomaml")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "package", "number"),
    [("ray", "ray", signal.SIGKILL), ("submitit_local", "submitit", signal.SIGUSR2)],
)
def test_a_job_that_is_killed_or_preempted_is_begun_again_and_resumes(
    tmp_path, whole, launcher, package, number
):
    """A job that is killed, or preempted as by Slurm, is restarted by its launcher and has equal bits."""
    pytest.importorskip(package)
    with start(tmp_path, [*TWO, f"hydra/launcher={launcher}"]) as started:
        os.kill(trainer(tmp_path), number)
        started.wait(timeout=300)
    assert started.returncode == 0, (tmp_path / "printed").read_text()[-2000:]
    assert contents(tmp_path) == whole
    resumed = [len(rundir.read_manifest(job.run)["resumed"]) for job in sweep_of(tmp_path)]
    assert sorted(resumed) == [0, 1]


def trainer(runs):
    """Wait until a run has a checkpoint, and return the process that trains it."""
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        for path in runs.glob("sinusoid/*/checkpoints/*.npz"):
            return int(re.search(r"process (\d+)", (path.parents[1] / ".lock").read_text()).group(1))
        time.sleep(0.05)
    raise AssertionError((runs / "printed").read_text()[-2000:])


SHARED = ["seed=0", "training.iterations=60", "training.workers=2"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A job of two workers, started by the command itself."""
    runs = tmp_path_factory.mktemp("shared")
    finished(runs, SHARED)
    return [*contents(runs).values()]


TASKS = ["hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "package"),
    [
        (["hydra/launcher=joblib"], "joblib"),
        (["hydra/launcher=ray"], "ray"),
        (["hydra/launcher=submitit_local"], "submitit"),
        (TASKS, "submitit"),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, list) else given,
)
def test_jobs_have_their_workers(tmp_path, shared, launcher, package):
    """Started by each job on its machine, or by the launcher as tasks of the job; with equal bits."""
    pytest.importorskip(package)
    finished(tmp_path, [*SHARED, *launcher])
    assert [*contents(tmp_path).values()] == shared


SLURM = {"nodes": 1, "tasks_per_node": 1, "cpus_per_task": None, "gpus_per_node": None, "gpus_per_task": None}

RAY = {"ray": {"init": {"address": "auto"}, "remote": {}}}


def configured(name, **settings):
    """Return the configuration of a launcher, by the beginning of its class's name."""
    (target,) = (each for each in REQUESTS if each.startswith(name))
    return OmegaConf.create({"_target_": f"hydra_plugins.a.{target}", **settings})


def room(workers, name, **settings):
    launcher = configured(name, **settings)
    make_room(launcher, workers)
    return launcher


def test_jobs_request_a_core_for_each_worker(monkeypatch):
    monkeypatch.setattr(joblib, "effective_n_jobs", lambda number: 6)
    assert [room({each}, "Joblib", n_jobs=-1).n_jobs for each in (1, 2, 4, 8)] == [-1, 3, 1, 1]
    assert room({2}, "Joblib", n_jobs=5).n_jobs == 5
    assert room({1, 3}, "Ray", **RAY).ray.remote == {"num_cpus": 3}
    assert room({1}, "Ray", **RAY).ray.remote == {}
    assert room({2}, "Slurm", **SLURM).cpus_per_task == 2
    assert room({2}, "Slurm", **{**SLURM, "tasks_per_node": 2}).cpus_per_task == 1
    assert room({2}, "Slurm", **{**SLURM, "cpus_per_task": 8}).cpus_per_task == 8
    unknown = OmegaConf.create({"_target_": "mylab.Launcher"})
    make_room(unknown, {2})
    assert unknown == {"_target_": "mylab.Launcher"}


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("Slurm", {"cpus_per_task": 1}, r"hydra\.launcher\.cpus_per_task=1 is less than the 2 cores"),
        ("Slurm", {"gpus_per_node": 1}, r"gpus_per_node=1 is less .*: set hydra\.launcher\.gpus_per_node=2"),
        ("Slurm", {"gpus_per_task": 1}, "gpus_per_task=1 is less than the 2 GPUs"),
        ("Slurm", {"nodes": 2, "tasks_per_node": 2}, r"make 4 tasks of a job, but training\.workers=2: make"),
        ("Local", {"tasks_per_node": 3}, r"make 3 tasks of a job, but training\.workers=2"),
        ("Local", {"tasks_per_node": 2, "gpus_per_node": 1}, "gpus_per_node=1 is less than the 2 GPUs"),
        ("Ray", {"num_cpus": 0}, r"hydra\.launcher\.ray\.remote\.num_cpus=0 is less than the 2 cores"),
        ("Ray", {"num_gpus": 0.5}, r"ray\.remote\.num_gpus=0\.5 is less than the 2 GPUs"),
    ],
)
def test_what_is_too_little_for_the_workers_is_said(name, settings, said):
    given = {"ray": {**RAY["ray"], "remote": settings}} if name == "Ray" else {**SLURM, **settings}
    with pytest.raises(UsageError, match=said):
        room({2}, name, **given)


def test_ray_is_not_waited_for_in_vain(monkeypatch):
    """Where it starts on this machine, which has too few cores."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    own = {"init": {"address": None}, "remote": {}}
    assert room({4}, "Ray", ray=own).ray.remote.num_cpus == 4
    with pytest.raises(UsageError, match=r"Ray would wait forever for 5 cores, but there are 4 here"):
        room({5}, "Ray", ray=own)


COMMANDS = [
    line.split("hydra/") for line in (GUIDE / "workers.md").read_text().splitlines() if "-m seed" in line
]

REQUESTED = {
    "launcher=joblib": {"n_jobs": 3},
    "launcher=slurm": {"cpus_per_task": 1, "nodes": 2, "tasks_per_node": 2, "max_num_timeout": 100},
    "launcher=submitit_local": {"tasks_per_node": 2},
    "launcher=ray": {"ray": {"init": {"address": None}, "remote": {"num_cpus": 2}}},
}
"""What the launchers are set to in the commands of the page."""


@pytest.mark.usefixtures("unbuilt")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[1].split()[0])
def test_the_commands_of_the_page_make_room(tmp_path, monkeypatch, command):
    """With the configurations that the packages of the launchers define, where they are installed."""
    launcher, *others = command[1].split()
    package = {"launcher=slurm": "submitit", "launcher=submitit_local": "submitit"}
    pytest.importorskip(package.get(launcher, launcher.partition("=")[2]))
    launched = []
    monkeypatch.setattr(joblib, "effective_n_jobs", lambda number: 6)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(
        "experiments.harness.sweeps.grid.execute", lambda setting, jobs: launched.append(setting) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, [*command[0].split()[3:], f"hydra/{launcher}", *others])
    (setting,) = launched
    found = OmegaConf.to_container(setting.config.hydra.launcher)
    assert {**found, **REQUESTED[launcher]} == found
