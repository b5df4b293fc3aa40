"""Grid sweeps: every combination of values; complete runs are not repeated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from hydra.core.override_parser.types import Override, RangeSweep

from ..errors import UsageError
from ..runs import identity
from . import definition
from .execution import execute
from .setting import Job, Setting, count
from .summary import summarize

MOST_JOBS = 10_000
"""Largest number of jobs of a sweep, because all are composed and checked before the first starts."""


def sweep(setting: Setting, params: Mapping[str, object], arguments: Sequence[str]) -> None:
    """Run every job that is not complete, and print the outcome of all.

    Raises:
        UsageError: before any of them starts, if a value or a configuration is invalid.
    """
    jobs = plan(setting, params, arguments)
    setting = setting.with_room({job.workers for job in jobs})
    with setting.locked():
        definition.write(setting.place, jobs)
        results = execute(setting, jobs)
    setting.codes.append(summarize(setting, jobs, results))


def plan(setting: Setting, params: Mapping[str, object], arguments: Sequence[str]) -> list[Job]:
    """Return the jobs; combinations that result in the same run are one job."""
    values = [_values(override) for override in setting.parse(params, arguments)]
    if math.prod(map(len, values)) > MOST_JOBS:
        several = ", ".join(lines[0].partition("=")[0] for lines in values if len(lines) > 1)
        raise UsageError(
            f"the values of {several} make more than {MOST_JOBS} jobs: give fewer, or let "
            "hydra/sweeper=optuna choose among them"
        )
    varying = {line for lines in values if len(lines) > 1 for line in lines}
    jobs: dict[str, Job] = {}
    for overrides in itertools.product(*values):
        name = ",".join(line for line in overrides if line in varying) or ",".join(overrides)
        job = setting.job(name, overrides)
        first = jobs.setdefault(str(job.run.path), job)
        if not identity.same_evaluation(first.afterwards or {}, job.afterwards or {}):
            raise UsageError(
                f"{name} is the same training as {first.name} with another evaluation: sweep over settings "
                "of the training, and evaluate its runs with other settings by experiments.evaluate"
            )
    return list(jobs.values())


def _values(override: Override) -> list[str]:
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise UsageError(
            f"{override.input_line} has infinitely many values: list some, {key}=1,2, or let "
            "hydra/sweeper=optuna choose"
        )
    found = override.value()
    if isinstance(found, RangeSweep):
        try:
            number = count(found)
        except ValueError as error:
            raise UsageError(f"{override.input_line} gives no values: {error}") from error
        if number > MOST_JOBS:
            raise UsageError(f"{override.input_line} has more than {MOST_JOBS} values: give fewer")
    return [f"{key}={value}" for value in override.sweep_string_iterator()]
