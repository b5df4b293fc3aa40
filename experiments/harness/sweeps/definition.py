"""``sweep.json``: the jobs of a sweep, for the jobs themselves and for reports."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ..config.build import failing_as
from ..errors import UsageError
from ..invocation import command
from ..runs import rundir
from ..runs.files import MIB, read_bytes, write_json
from ..runs.rundir import RunDirectory
from .setting import Job

FILE = "sweep.json"

FORMAT = 1

LARGEST = 64 * MIB
"""Largest number of bytes of the file."""


def write(place: Path, jobs: Sequence[Job]) -> None:
    """Write the jobs into the sweep's folder, their runs' paths relative to it.

    Raises:
        UsageError: if the file cannot be written.
    """
    listed = [
        {
            "name": job.name,
            "overrides": job.overrides,
            "run": os.path.relpath(job.run.path, place),
            "trial": job.trial,
        }
        for job in jobs
    ]
    with rundir.writing(place):
        write_json(place / FILE, {"format": FORMAT, "command": command(), "jobs": listed})


def read(place: Path) -> list[Job]:
    """Return the jobs of a sweep's folder; none if the folder is not that of a sweep.

    Raises:
        UsageError: if its content is invalid.
    """
    path = place / FILE
    if not path.exists():
        return []
    with failing_as(f"{path} cannot be read"):
        stored = json.loads(read_bytes(path, LARGEST))
        if stored["format"] != FORMAT:
            raise UsageError(f"{path} has format {stored['format']!r}, this version reads {FORMAT}")
        return [_job(place, entry) for entry in stored["jobs"]]


def _job(place: Path, entry: dict[str, object]) -> Job:
    name, overrides, run, trial = (entry[key] for key in ("name", "overrides", "run", "trial"))
    if not (isinstance(name, str) and isinstance(run, str) and isinstance(overrides, list)):
        raise ValueError("the description of a job is invalid")
    number = None if trial is None else int(str(trial))
    return Job(name, tuple(map(str, overrides)), RunDirectory(Path(os.path.normpath(place / run))), number)
