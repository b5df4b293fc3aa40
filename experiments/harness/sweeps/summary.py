"""What is said at the end of a sweep."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from experiments.harness import rundir
from experiments.harness.cli import FAILED, INTERRUPTED
from experiments.harness.sweeps.execution import ENDED, NEW, Results
from experiments.harness.sweeps.setting import Job
from experiments.harness.terminal import say


def summarize(place: Path, jobs: Sequence[Job], results: Results) -> int:
    """Say how many jobs were complete, were resumed, are new, and which are not complete; return the exit code."""
    before, after = results.before, results.after
    counts = Counter(_kind(before[path], after[path]) for path in after)
    parts = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    say(f"[bold]{len(after)} jobs:[/] {parts}; listed in {place}/sweep.json")
    open_jobs = [job for job in jobs if after[str(job.run.path)] not in ENDED]
    for job in open_jobs:
        reason = results.reasons.get(str(job.run.path), "")
        say(f"  [red]not complete:[/] {escape(job.name)} ({job.run.path}): {escape(reason)}")
    if open_jobs:
        say(f"go on with: {rundir.command()}")
    say(f"compare with: {shlex.join(['python', '-m', 'experiments.report', f'runs={place}'])}")
    return INTERRUPTED if results.interrupted else FAILED if open_jobs else 0


def _kind(before: str, after: str) -> str:
    if after not in ENDED:
        return "not complete"
    if before in ENDED:
        return f"{after} before"
    return f"{after} now" + ("" if before == NEW else ", resumed")
