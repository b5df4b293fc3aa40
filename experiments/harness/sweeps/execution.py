"""Running jobs: through Hydra's launcher, with what the disk says as the only truth on how they ended."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.harness import rundir
from experiments.harness.cli import Outcome, UsageError
from experiments.harness.rundir import RunDirectory
from experiments.harness.sweeps.setting import Job, Setting
from experiments.harness.terminal import console, say

NEW, UNREADABLE = "new", "unreadable"
"""States beside those of a manifest."""

ENDED = ("complete", "pruned")
"""States of jobs that there is nothing left to do for."""

LOOK_SECONDS = 1.0
"""Between two looks at what jobs in other processes have done."""


class LauncherError(Exception):
    """A launcher did not bring its jobs to an end; they themselves raise nothing."""


@dataclasses.dataclass(frozen=True)
class Results:
    """How jobs ended.

    Attributes:
        before: the state of each run before, by its path.
        after: and now.
        reasons: why a run is not complete, as far as is known.
        interrupted: whether somebody stopped the sweep.
        broken: whether the launcher did.
    """

    before: dict[str, str]
    after: dict[str, str]
    reasons: dict[str, str]
    interrupted: bool
    broken: bool


def state(run: RunDirectory) -> str:
    """Return how far a run is: the manifest's status, ``diverged``, :data:`NEW`, or :data:`UNREADABLE`."""
    try:
        manifest = rundir.read_manifest(run)
    except UsageError:
        return UNREADABLE
    if manifest is None:
        return NEW
    return "diverged" if manifest.get("diverged") else str(manifest["status"])


def execute(setting: Setting, jobs: Sequence[Job]) -> Results:
    """Launch the jobs that have not ended, and return how all of them stand."""
    before = {str(job.run.path): state(job.run) for job in jobs}
    left = [job for job in jobs if before[str(job.run.path)] not in ENDED]
    reasons: dict[str, str] = {}
    interrupted = broken = False
    if left:
        try:
            with _terminable(), _watched(left, before, setting.one_by_one):
                reasons = _launch(setting, left)
        except KeyboardInterrupt:
            interrupted = True
        except LauncherError as error:
            broken = True
            say(f"[bold red]the launcher failed:[/] {escape(str(error))}")
    after = {str(job.run.path): state(job.run) for job in jobs}
    for job in left:
        path = str(job.run.path)
        if after[path] not in ENDED:
            reasons.setdefault(path, _reason(job.run, after[path]))
    return Results(before, after, reasons, interrupted, broken)


def _launch(setting: Setting, jobs: Sequence[Job]) -> dict[str, str]:
    """Launch jobs and return why some are not complete, by the paths of their runs."""
    try:
        returned = setting.launcher.launch([job.overrides for job in jobs], initial_job_idx=0)
        outcomes = [each.return_value for each in returned]
    except Exception as error:  # every launcher has its own: a worker was killed, a cluster is gone
        raise LauncherError(f"{type(error).__name__}: {error}") from error
    return {
        str(job.run.path): outcome.message
        for job, outcome in zip(jobs, outcomes, strict=True)
        if isinstance(outcome, Outcome) and outcome.message
    }


def _reason(run: RunDirectory, now: str) -> str:
    if now in (NEW, UNREADABLE):
        return f"it is {now}"
    manifest = rundir.read_manifest(run) or {}
    return str(manifest.get("error") or f"{now} at iteration {manifest.get('iteration')}")


@contextmanager
def _terminable() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C: workers are ended, and the summary is printed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _watched(jobs: Sequence[Job], before: dict[str, str], one_by_one: bool) -> Iterator[None]:
    """Show how many jobs have ended, where they do not show themselves what they do."""
    if one_by_one:
        yield
        return
    left = threading.Event()
    say(f"{len(jobs)} jobs of {len(before)} to run")
    columns = TextColumn("jobs"), BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        watcher = threading.Thread(target=_watch, args=(jobs, left, progress), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            left.set()
            watcher.join()


def _watch(jobs: Sequence[Job], left: threading.Event, progress: Progress) -> None:
    task = progress.add_task("", total=len(jobs))
    waiting, last = list(jobs), False
    while not last:
        last = left.wait(LOOK_SECONDS)
        for job in list(waiting):
            now = state(job.run)
            if now in (*ENDED, "failed", "diverged"):
                waiting.remove(job)
                progress.advance(task)
                progress.console.print(escape(f"{now}: {job.name}  {job.run.path}"), highlight=False)
