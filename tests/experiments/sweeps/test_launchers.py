"""Jobs in other processes: in parallel, killed and restarted, requeued."""

import os
import re
import signal
import time

import pytest

from experiments.harness.runs import rundir
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
