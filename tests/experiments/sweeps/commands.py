"""Sweeps of small runs in this process, or in one that can be killed with all its children."""

import os
import signal
import subprocess
import sys
import time

from experiments.harness.runs import rundir
from experiments.harness.runs.rundir import RunDirectory
from experiments.harness.sweeps import definition
from tests.experiments.small_runs import content

SMALL = ["model.hidden=[8]", "training.meta_batch_size=4", "evaluation.tasks=20", "evaluation.steps=1"]
SMALL += [
    "validation.tasks=20",
    "diagnostics.interval=null",
    "training.jit_compile=false",
    "tracking=none",
    "run.checkpoint_seconds=0.01",
    "run.check_derivatives=false",
]


def sweep_of(runs):
    """Return the jobs of the one sweep below a folder."""
    (place,) = (runs / "sweeps").iterdir()
    return definition.read(place)


def contents(runs):
    """Return the results of each job by its name; all of them are complete or pruned."""
    return {job.name: _left(job.run) for job in sweep_of(runs)}


def _left(run):
    manifest = rundir.read_manifest(run)
    if manifest["status"] == "pruned":
        return manifest["iteration"], manifest["validation_loss"], run.validation.read_bytes()
    return content(run)


def complete(runs):
    """Return the manifests of runs that are complete, by their folders."""
    found = {}
    for path in runs.glob("sinusoid/*/manifest.json"):
        if rundir.read_manifest(RunDirectory(path.parent))["status"] == "complete":
            found[path.parent.name] = path.read_bytes()
    return found


def start(runs, arguments):
    """Start the command as the leader of a group of processes."""
    command = [sys.executable, "-m", "experiments.train", "-m", *arguments, *SMALL, f"paths.runs={runs}"]
    environment = {**os.environ, "PYTHONPATH": "."}
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / "printed").open("wb") as printed:
        return subprocess.Popen(
            command, env=environment, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )


def killed_after(runs, arguments, ended, seconds):
    """Run the command until a run has started or resumed, and some have ended; its group is killed later."""

    def manifests():
        return {path: path.stat().st_mtime_ns for path in runs.glob("sinusoid/*/manifest.json")}

    before, give_up = manifests(), time.monotonic() + 300
    enough = len(complete(runs)) + ended
    with start(runs, arguments) as started:
        try:
            while (manifests() == before or len(complete(runs)) < enough) and started.poll() is None:
                assert time.monotonic() < give_up
                time.sleep(0.1)
            time.sleep(seconds)
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)


def finished(runs, arguments):
    """Run the command to its end and return what it printed."""
    with start(runs, arguments) as started:
        started.wait(timeout=600)
    printed = (runs / "printed").read_text()
    assert started.returncode == 0, printed[-2000:]
    return printed
