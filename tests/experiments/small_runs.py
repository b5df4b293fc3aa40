"""Small runs of the training command in this process, and their files."""

import copy
import functools
import json
import sys
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import tensorflow as tf

from experiments import train
from experiments.harness.app.application import run_application
from experiments.harness.config import build, preparation
from experiments.harness.runs import checkpoints, metrics, rundir
from experiments.harness.runs.rundir import RunDirectory
from experiments.harness.session import results
from metalearn.execution.compiled import Compiled
from metalearn.problems import stored

SETTINGS = ["model.hidden=[8]", "training.meta_batch_size=4", "evaluation.tasks=20", "evaluation.steps=1"]
SETTINGS += ["tracking=none", "diagnostics.interval=null", "run.checkpoint_seconds=1e-6"]
SETTINGS += ["run.check_derivatives=false"]

SHORT = [*SETTINGS, "training.iterations=60", "training.jit_compile=false"]


@functools.lru_cache(maxsize=4)
def _trainer(described):
    """Return a trainer, and its state before the first iteration."""
    trainer = build.build_trainer(json.loads(described))
    return trainer, trainer.state()


def built(config):
    """Return the trainer of a configuration before the first iteration, with its program cached.

    Tests of different faults use the same program, and building it takes most of the time.
    """
    parts = ("model", "rule", "estimator", "learner", "task", "optimizer", "seed", "training", "run")
    given = [part for part in (*parts, "problem", "packages") if part in config]
    described = copy.deepcopy({part: config[part] for part in given})
    described["run"] = {"check_derivatives": config["run"]["check_derivatives"]}
    trainer, state = _trainer(json.dumps(described, sort_keys=True))
    trainer.restore(state)
    trainer.last_gradient = None
    return trainer


@contextmanager
def quick_programs(as_traced=True):
    """Cache programs, evaluate without XLA, and run graphs without optimisation, consistently within a test.

    Without ``as_traced``, training has the same bits as for users.
    """
    options = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": as_traced})
    try:
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(preparation, "build_trainer", built)
            monkeypatch.setattr(
                stored, "Compiled", lambda function, mapping, _: Compiled(function, mapping, False)
            )
            yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": options})


def run(runs, arguments, quick=True, as_traced=True):
    """Run the command in this process, without figures; return its exit code.

    It runs into a folder, unless that is None; with programs as users have them unless it is to be ``quick``;
    of those, ``as_traced=False`` is for training with the bits that it has for users.
    """
    place = [] if runs is None else [f"paths.runs={runs}"]
    programs = quick_programs(as_traced) if quick else nullcontext()
    with programs, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(results, "draw", lambda *_: {})
        monkeypatch.setattr(sys, "argv", ["train", *arguments, *place])
        with pytest.raises(SystemExit) as stopped:
            run_application(train.main, "train")
    return stopped.value.code


def call(module, *arguments):
    """Run another command in this process; return its exit code."""
    name = module.__name__.rpartition(".")[2]
    with quick_programs(), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(SystemExit) as stopped:
            run_application(module.main, name)
    return stopped.value.code


def pretend(run, config, **manifest):
    """Write the manifest of a run that was not trained."""
    run.path.mkdir(parents=True, exist_ok=True)
    if not run.manifest.exists():
        rundir.create(run, config)
    rundir.update_manifest(run, **manifest)


def folder(runs):
    (path,) = (runs / "sinusoid").iterdir()
    return RunDirectory(path)


def content(run):
    """Return the parts of a run that do not depend on interruptions."""
    manifest = json.loads(run.manifest.read_text())
    assert manifest["status"] == "complete"
    return manifest["parameters_digest"], run.metrics.read_bytes(), run.evaluation.read_bytes()


def stop_at(iteration, error):
    """Return a progress bar that calls a function at an iteration."""

    def stop(now):
        if now >= iteration:
            raise error

    return bar_that(stop)


def bar_that(act):
    """Return a progress bar that calls a function with the number of finished iterations, without output."""

    @contextmanager
    def bar(done, total):
        yield lambda now, status: act(now)

    return bar


def read(run):
    """Return all files of a run's folder that are read when it is resumed or shown."""
    config, manifest = rundir.read(run)
    if manifest["status"] == "complete":
        for path in (run.metrics, run.evaluation, run.losses):
            rundir.require_unchanged(run, manifest, path)
    taken = []

    def accept(state):
        metrics.go_back(run.metrics, state)
        taken.append(sorted((name, np.asarray(value).tobytes()) for name, value in state.items()))

    checkpoints.recover(run.checkpoints, manifest["identity"], accept)
    return repr(config), repr(manifest), taken, run.metrics.read_bytes()
