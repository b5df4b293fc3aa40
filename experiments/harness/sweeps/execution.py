"""Execution of jobs by Hydra's launcher; only the files of the runs decide whether jobs are complete."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..app.application import Outcome
from ..console import console, say
from ..errors import UsageError
from ..runs import rundir
from .setting import Job, Setting

NEW, UNREADABLE, OTHERWISE = "new", "unreadable", "evaluated otherwise"
"""States in addition to those of a manifest: the last is a trained run with another requested evaluation."""

ENDED = ("complete", "pruned")
"""States of jobs that need no further work."""

ATTEMPTS = 3
"""Consecutive launches without a finished job after which a launcher is abandoned."""

LOOK_SECONDS = 1.0
"""Seconds between two checks of jobs in other processes."""


class LauncherError(Exception):
    """A launcher failed to finish its jobs; errors of the jobs themselves are not raised."""


@dataclasses.dataclass(frozen=True)
class Results:
    """The outcome of jobs.

    Attributes:
        before: the state of each run before the jobs.
        after: the state of each run after them.
        reasons: why a run is not complete, as far as is known.
        interrupted: whether the sweep was stopped by a signal.
        broken: whether the launcher failed.
    """

    before: dict[Job, str]
    after: dict[Job, str]
    reasons: dict[Job, str]
    interrupted: bool
    broken: bool


def state(job: Job) -> str:
    """Return the state of a job's run: the manifest's status, ``diverged``, or an additional state."""
    try:
        manifest = rundir.read_manifest(job.run)
    except UsageError:
        return UNREADABLE
    if manifest is None:
        return NEW
    if manifest.get("diverged"):
        return "diverged"
    if manifest["status"] == "complete" and job.afterwards not in (None, manifest["afterwards"]):
        return OTHERWISE
    return str(manifest["status"])


def execute(setting: Setting, jobs: Sequence[Job]) -> Results:
    """Launch the unfinished jobs, and return the states of all jobs."""
    before = {job: state(job) for job in jobs}
    left = [job for job in jobs if before[job] not in ENDED]
    reasons: dict[Job, str] = {}
    interrupted, broken, failures = False, False, 0
    while left and not interrupted and not broken:
        try:
            with _terminable(), _watched(left, before):
                reasons |= _launch(setting, left)
            break
        except KeyboardInterrupt:
            interrupted = True
        except LauncherError as error:
            say(str(error), "the launcher failed:", "bold red")
            still = [job for job in left if state(job) not in (*ENDED, "failed", "diverged")]
            # A job may end its worker each time; the others must not wait for it forever.
            failures = 0 if len(still) < len(left) else failures + 1
            broken = failures >= ATTEMPTS
            left = still
            if left and not broken:
                say(f"{len(left)} jobs have not ended, and are launched again")
    left = [job for job in jobs if before[job] not in ENDED]
    after = {job: state(job) for job in jobs}
    for job in left:
        if after[job] not in ENDED:
            reasons.setdefault(job, _reason(job, after[job]))
    return Results(before, after, reasons, interrupted, broken)


def _launch(setting: Setting, jobs: Sequence[Job]) -> dict[Job, str]:
    """Launch jobs and return the reasons for which some are not complete."""
    try:
        returned = setting.launcher.launch([job.overrides for job in jobs], initial_job_idx=0)
        outcomes = [each.return_value for each in returned]
    except Exception as error:  # launchers have errors of their own, for a killed worker or a lost cluster
        raise LauncherError(f"{type(error).__name__}: {error}") from error
    finally:
        console.quiet = False  # jobs that stopped printing may have run in this process
    return {
        job: outcome.message
        for job, outcome in zip(jobs, outcomes, strict=True)
        if isinstance(outcome, Outcome) and outcome.message
    }


def _reason(job: Job, now: str) -> str:
    if now in (NEW, UNREADABLE, OTHERWISE):
        return f"it is {now}"
    manifest = rundir.read_manifest(job.run) or {}
    return str(manifest.get("error") or f"{now} at iteration {manifest.get('iteration')}")


@contextmanager
def _terminable() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C: workers are ended, and the summary is printed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _watched(jobs: Sequence[Job], before: dict[Job, str]) -> Iterator[None]:
    """Show the number of finished jobs, and a line for each; the jobs themselves print nothing."""
    left, shown = threading.Event(), Console(highlight=False, soft_wrap=True)
    say(f"{len(jobs)} jobs of {len(before)} to run")
    columns = TextColumn("jobs"), BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=shown, disable=not shown.is_terminal) as progress:
        watcher = threading.Thread(target=_watch, args=(jobs, left, progress), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            left.set()
            watcher.join()


def _watch(jobs: Sequence[Job], left: threading.Event, progress: Progress) -> None:
    task = progress.add_task("", total=len(jobs))
    waiting, last = {job: _stamp(job) for job in jobs}, False
    while not last:
        last = left.wait(LOOK_SECONDS)
        for job, before in list(waiting.items()):
            if _stamp(job) != before and (now := state(job)) in (*ENDED, "failed", "diverged"):
                del waiting[job]
                progress.advance(task)
                say(f"{job.name}  {job.run.path}", f"{now}:", to=progress.console)


def _stamp(job: Job) -> int | None:
    """Return the time at which a job's manifest was last written."""
    try:
        return job.run.manifest.stat().st_mtime_ns
    except OSError:
        return None
