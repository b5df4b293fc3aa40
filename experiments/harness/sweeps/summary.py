"""The output at the end of a sweep."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten

import numpy as np
from rich.table import Table

from ..config.packages import trusted
from ..console import cell, print_table, say
from ..errors import FAILED, INTERRUPTED
from ..invocation import program, resuming
from ..runs import code, provenance, rundir
from . import collection
from .execution import ENDED, NEW, Results
from .setting import Job, Setting

MOST, WIDTH = 100, 140
"""Largest number of jobs in the table, and smallest number of characters in a line of it."""


def summarize(setting: Setting, jobs: Sequence[Job], results: Results, ended: Sequence[str] = ENDED) -> int:
    """Print how many jobs were complete, resumed or new, and which are incomplete; return the exit code.

    Args:
        setting: the environment of the sweep.
        jobs: all jobs.
        results: their outcome.
        ended: the states of jobs that need no further work.
    """
    before, after, place = results.before, results.after, setting.place
    counts = Counter(_kind(before[job], after[job], ended) for job in after)
    parts = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    if all(job.trial is None for job in jobs):  # a search shows its best trials instead
        print_table(_losses(jobs[:MOST], results, ended), WIDTH)
    say(f"{parts}; listed in {place}/sweep.json", f"{len(after)} jobs:")
    open_jobs = [job for job in jobs if after[job] not in ended]
    for job in open_jobs:
        reason = results.reasons.get(job, "")
        say(f"{job.name} ({job.run.path}): {shorten(reason, collection.REASON)}", "  not complete:", "red")
    if open_jobs:
        say(f"resume with: {resuming()}")
    _name_other_code(jobs, after, trusted(setting.config.packages))
    say(f"compare with: {shlex.join([*program('report'), f'runs={place}'])}")
    return INTERRUPTED if results.interrupted else FAILED if open_jobs else 0


def _losses(jobs: Sequence[Job], results: Results, ended: Sequence[str]) -> Table:
    """Return the table of the results of jobs: mean losses over the evaluation's tasks."""
    found = collection.read([job.run.path for job in jobs], Path())
    means = found.steps["mean"].unstack("step").reindex(found.runs.index)
    steps = collection.shown_steps(means.columns)
    metric = ", ".join(found.runs["metric"].dropna().unique())
    table = Table(title=f"losses by job ({metric or 'none'})", title_justify="left")
    for heading in ("job", *("before" if step == 0 else f"after {step}" for step in steps), "how it ended"):
        table.add_column(heading, justify="right" if heading.startswith(("before", "after")) else "left")
    for job, losses in zip(jobs, means[steps].to_numpy(), strict=True):
        texts = ["-" if np.isnan(loss) else f"{loss:.4g}" for loss in losses]
        now = results.after[job]
        table.add_row(cell(job.name), *texts, _kind(results.before[job], now, ended) if now in ended else now)
    return table


def _name_other_code(jobs: Sequence[Job], after: Mapping[Job, str], packages: Sequence[str]) -> None:
    """Print which complete runs were made by other code than the present."""
    other = {}
    for job in jobs:
        if after[job] == "complete":
            config, manifest = rundir.read(job.run, packages)
            other[job.name] = provenance.changes(config, manifest)
    named = [f"{name} ({code.summary(lines)})" for name, lines in other.items() if lines]
    if named:
        say(
            f"{shorten('; '.join(named), collection.REASON)}. run.fresh=true trains new ones",
            f"{len(named)} of these runs were made by other code:",
            "bold yellow",
        )


def _kind(before: str, after: str, ended: Sequence[str]) -> str:
    if after not in ended:
        return "not complete"
    if before in ended:
        return f"{after} before"
    return f"{after} now" if before == NEW else f"resumed and {after} now"
