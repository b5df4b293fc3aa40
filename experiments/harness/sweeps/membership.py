"""A job as part of its sweep: its name in Weights & Biases, and its output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from ..console import console
from ..runs.identity import Config
from . import definition
from .setting import Job


def own_job() -> tuple[Path, Job] | None:
    """Return the sweep's folder and the job of this process; None if it is not part of a sweep."""
    hydra = HydraConfig.get()
    if hydra.mode is not RunMode.MULTIRUN:
        return None
    place, own = Path(str(hydra.sweep.dir)), tuple(hydra.overrides.task)
    return next(((place, job) for job in definition.read(place) if job.overrides == own), None)


def join(config: Config, place: Path, job: Job) -> Config:
    """Return the configuration with the sweep as W&B's group and the varied settings as name, unless set.

    After this call the job prints nothing: its sweep prints a line when it has ended.
    """
    console.quiet = True
    tracking = config["tracking"]
    if tracking["backend"] != "wandb":
        return config
    named = {"group": tracking["group"] or place.name, "name": tracking["name"] or job.name}
    return {**config, "tracking": {**tracking, **named}}


def reporter(place: Path, job: Job) -> Callable[[int, float], bool] | None:
    """Return the function that reports a job's validation losses to its search; None outside a search."""
    if job.trial is None:
        return None
    from .study import trial_reporter

    return trial_reporter(place, job.trial, HydraConfig.get().sweeper.pruner)
