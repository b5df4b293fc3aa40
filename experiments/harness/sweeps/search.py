"""A search by Optuna: trials are chosen, run as jobs, and reported; an interrupted search can be resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from ..config.kinds import SEED, integer
from ..console import cell, print_table, say
from ..errors import UsageError
from ..runs import rundir
from ..runs.rundir import RunDirectory
from . import definition
from .execution import ENDED, Results, execute, state
from .setting import Job, Setting
from .space import distribution, suggest
from .study import address, build, open_study
from .summary import summarize

SHOWN = 5
"""Number of best trials in the final table."""

KINDS = {"trials": integer(1, 100_000), "parallel": integer(1, 1000), "seed": SEED}
"""Limits of settings: a search stores all trials; parallel ones are chosen and launched together."""

VALIDATIONS = 10
"""Number of validations of a run, unless ``validation.interval`` is set."""


@dataclasses.dataclass(frozen=True)
class Search:
    """The parts of a search.

    Attributes:
        setting: the interface to Hydra.
        study: the stored trials.
        space: the distribution of each setting that is searched, by key.
        fixed: the overrides of all trials.
        settings: the settings of ``hydra/sweeper=optuna``.
        jobs: the jobs of the trials, by number.
    """

    setting: Setting
    study: optuna.Study
    space: dict[str, BaseDistribution]
    fixed: list[str]
    settings: Mapping[str, Any]
    jobs: dict[int, Job] = dataclasses.field(default_factory=dict)


def sweep(
    setting: Setting, params: Mapping[str, object], arguments: Sequence[str], settings: Mapping[str, Any]
) -> None:
    """Run trials until the requested number is reached, and show the best.

    Trials are chosen ``parallel`` at a time, each from the results of all earlier batches and from its own
    seed, so that a search that was killed and resumed makes the same choices as an uninterrupted one.

    Raises:
        UsageError: if a setting is invalid.
    """
    for key, kind in KINDS.items():
        kind.take(f"hydra.sweeper.{key}", settings[key])
    with setting.locked():
        _search(_begin(setting, params, arguments, settings))


def _search(search: Search) -> None:
    setting, settings = search.setting, search.settings
    parts: list[Results] = []
    while (len(search.study.trials) < settings["trials"] or _running(search)) and not _stopped(parts):
        _ask(search)
        definition.write(setting.place, _jobs(search))
        batch = [search.jobs[trial.number] for trial in _running(search)]
        results = execute(setting, batch)
        told = [] if results.interrupted else [_tell(search, job) for job in batch]
        # A trial without a report is run again by the next command, after its cause has been fixed.
        parts.append(results if all(told) else dataclasses.replace(results, broken=True))
    jobs = _jobs(search)
    definition.write(setting.place, jobs)
    setting.codes.append(summarize(setting, jobs, _together(jobs, parts), (*ENDED, "diverged")))
    _show(search)


def _begin(
    setting: Setting, params: Mapping[str, object], arguments: Sequence[str], settings: Mapping[str, Any]
) -> Search:
    overrides = setting.parse(params, arguments)
    varied = {each.get_key_element(): distribution(each) for each in overrides if each.is_sweep_override()}
    if not varied:
        raise UsageError(
            "there is nothing to search: give a setting a range, like "
            "rule.learning_rate='tag(log,interval(1e-3,1))'"
        )
    fixed = [str(each.input_line) for each in overrides if not each.is_sweep_override()]
    if setting.config.validation.interval is None:
        interval = max(1, int(setting.config.training.iterations) // VALIDATIONS)
        fixed.append(f"validation.interval={interval}")
    study = open_study(setting.place, settings["pruner"])
    return Search(setting, study, varied, fixed, settings)


def _ask(search: Search) -> None:
    """Ask for trials until a batch is complete, or the requested number is reached."""
    parallel, wanted = int(search.settings["parallel"]), int(search.settings["trials"])
    for trial in _running(search):  # a process may have been killed after asking
        _choose(search, optuna.trial.Trial(search.study, trial._trial_id))
    while (number := len(search.study.trials)) < wanted:
        if number % parallel == 0 and _running(search):
            return
        search.study.sampler = _sampler(search, number)
        _choose(search, search.study.ask())


def _choose(search: Search, trial: optuna.Trial) -> None:
    for key, each in search.space.items():
        try:
            suggest(trial, key, each)
        except ValueError as error:
            raise UsageError(f"{key} was searched differently in {search.setting.place}: {error}") from error


def _sampler(search: Search, number: int) -> optuna.samplers.BaseSampler:
    seed = int(np.random.SeedSequence([search.settings["seed"], number]).generate_state(1)[0])
    return build(optuna.samplers, search.settings["sampler"], "hydra.sweeper.sampler", seed=seed)


def _running(search: Search) -> list[FrozenTrial]:
    return [trial for trial in search.study.trials if trial.state is TrialState.RUNNING]


def _stopped(parts: Sequence[Results]) -> bool:
    return bool(parts) and (parts[-1].interrupted or parts[-1].broken)


def _jobs(search: Search) -> list[Job]:
    for trial in search.study.trials:
        if trial.number not in search.jobs and not {*search.space} - {*trial.params}:
            chosen = [f"{key}={trial.params[key]}" for key in search.space]
            name = ",".join(_shortened(key, trial.params[key]) for key in search.space)
            done = trial.state is not TrialState.RUNNING
            try:
                job = search.setting.job(name, [*search.fixed, *chosen], trial.number, done)
            except UsageError:
                if done:
                    continue  # it never had a run
                search.study.tell(trial.number, state=TrialState.FAIL)
                raise
            search.jobs[trial.number] = job
    return [search.jobs[number] for number in sorted(search.jobs)]


def _shortened(key: str, value: Any) -> str:
    return f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"


def _tell(search: Search, job: Job) -> bool:
    """Report the outcome of a trial to the study, and return whether it was possible.

    A trial that stopped for an external reason, such as a full disk, is not reported, so that it is run
    again. The loss of a diverged trial is infinite; a trial that raised an error has no loss.
    """
    assert job.trial is not None
    ended, study = state(job), search.study
    if ended == "complete":
        study.tell(job.trial, _loss(job.run))
    elif ended == "pruned":
        study.tell(job.trial, state=TrialState.PRUNED)
    elif ended == "diverged":
        study.tell(job.trial, np.inf)
    elif ended == "failed":
        study.tell(job.trial, state=TrialState.FAIL)
    else:
        return False
    return True


def _loss(run: RunDirectory) -> float:
    loss = (rundir.read_manifest(run) or {})["validation_loss"]
    return np.inf if loss is None else float(loss)


def _together(jobs: Sequence[Job], parts: Sequence[Results]) -> Results:
    """Return the results of all batches as one; trials of earlier commands are as they were."""
    now = {job: state(job) for job in jobs}
    before = {**now, **{job: each for part in reversed(parts) for job, each in part.before.items()}}
    reasons = {job: reason for part in parts for job, reason in part.reasons.items()}
    return Results(before, now, reasons, any(part.interrupted for part in parts), _stopped(parts))


def _show(search: Search) -> None:
    trials = [trial for trial in search.study.trials if trial.number in search.jobs]
    done = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    best = sorted(done, key=lambda trial: trial.value if trial.value is not None else np.inf)[:SHOWN]
    table = Table(title=f"best of {len(done)} complete trials", title_justify="left")
    for heading in ("trial", *search.space, "validation loss", "run"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for trial in best:
        values = [cell(_shortened(key, trial.params[key]).partition("=")[2]) for key in search.space]
        place = cell(str(search.jobs[trial.number].run.path))
        table.add_row(str(trial.number), *values, f"{trial.value:.4f}", place)
    print_table(table, 140)
    say(f"every trial: optuna-dashboard {address(search.setting.place)}")
