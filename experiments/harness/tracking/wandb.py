"""Weights & Biases: means over windows, and histograms; offline unless asked otherwise."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from metalearn.evaluation.evaluation import Evaluation
from metalearn.training.history import History
from metalearn.types import Meta

from .charts import STEP, after_steps, array_histogram, define, of_learned
from .points import Point, Points
from .trackers import Dispensable, NoTracker, Tracker

MODES = ("offline", "online", "disabled")

REMEDIES = {
    "online": "run `wandb login`, check the network, or use tracking.mode=offline",
    "offline": "use tracking=none",
}

PRIVATE = ("disable_code", "disable_git", "x_disable_meta", "x_disable_stats", "x_disable_machine_info")
"""W&B settings that keep code, git state and facts about the machine out of the run."""

_log = logging.getLogger(__name__)


def wandb_tracker(
    *,
    directory: Path,
    config: dict[str, Any],
    run_id: str,
    name: str,
    group: str | None = None,
    tags: Sequence[str] = (),
    mode: str = "offline",
    project: str = "metalearn",
    **intervals: int,
) -> Tracker:
    """Open a Weights & Biases run whose files all stay below ``directory/wandb``.

    One row is logged for each window of ``interval`` iterations, with the iteration as W&B's step, so that
    iterations which a resumed run repeats are not logged twice. Offline mode does not use the network. In
    every mode nothing is printed, and code, Git state and information about the machine are not recorded.

    Args:
        directory: the folder of the run.
        config: the resolved configuration.
        run_id: W&B's id; online, the same id resumes the run.
        name: the name of the run on the web page.
        group: the group of runs; None for none.
        tags: the tags of the run, for filters on the web page.
        mode: ``offline``, ``online`` or ``disabled`` (a tracker that keeps nothing).
        project: the project of W&B.
        intervals: those of points and of histograms, see :class:`.points.Points`.

    Raises:
        ValueError: if the mode is unknown, an interval is not a positive integer, or an online run could not
            be opened (without login or network). If an offline run fails, this is reported.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r} is not one of {', '.join(MODES)}")
    points = Points(**intervals)
    if mode == "disabled":
        return NoTracker()
    directory.mkdir(parents=True, exist_ok=True)
    described = {"id": run_id, "name": name, "group": group, "project": project, "config": config}

    def start() -> Tracker:
        with _environment(directory, mode):
            run = _open(mode, dir=str(directory), tags=tuple(tags), **described)
        define(run)
        return _WandbTracker(run, directory, mode, points)

    return Dispensable(start, required=mode == "online", abandon=_abandon)


def _abandon() -> None:
    """Prevent W&B's process, if it has ended, from being waited for at exit."""
    import wandb

    wandb.teardown()


def _open(mode: str, **arguments: Any) -> Any:
    import wandb

    private: dict[str, Any] = dict.fromkeys(PRIVATE, True)
    settings = wandb.Settings(
        silent=True, console="off", host="", init_timeout=30, x_save_requirements=False, **private
    )
    arguments |= {"mode": mode, "resume": "allow" if mode == "online" else None}
    try:
        run = wandb.init(settings=settings, reinit="create_new", **arguments)
    except wandb.errors.Error as error:
        raise ValueError(
            f"Weights & Biases could not open an {mode} run ({error}): {REMEDIES[mode]}"
        ) from error
    if mode == "online":
        _log.info("the run's page: %s", run.url)
    return run


class _WandbTracker:
    def __init__(self, run: Any, place: Path, mode: str, points: Points) -> None:
        self._run, self._directory, self._mode, self._points = run, place, mode, points

    def log(self, first_iteration: int, history: History, gradient: Meta | None, seconds: float) -> None:
        self._log_points(self._points.add(first_iteration, history, gradient, seconds))

    def diagnosis(self, iteration: int, row: dict[str, float], learned: dict[str, np.ndarray]) -> None:
        self._log_points([*self._points.rest(), Point(iteration, row, of_learned(learned))])

    def divergence(self, reason: str) -> None:
        if self._mode == "online":  # offline nobody receives an alert
            self._run.alert(title="Meta-training diverged", text=reason, level="ERROR")

    def evaluation(self, evaluation: Evaluation, metric: str) -> None:
        from wandb import Table

        columns = ["steps", f"{metric} mean", "ci95", "num_tasks"]
        steps, means, intervals = (np.asarray(part).tolist() for part in evaluation[:3])
        rows = [[*row, evaluation.num_tasks] for row in zip(steps, means, intervals, strict=True)]
        self._log_event({"evaluation/table": Table(columns=columns, data=rows)})
        self._run.summary.update(after_steps(evaluation, metric))

    def figures(self, paths: dict[str, Path]) -> None:
        from wandb import Image

        self._log_event({f"figures/{name}": Image(str(path)) for name, path in paths.items()})

    def checkpoint(self, path: Path) -> None:
        from wandb import Artifact

        with _environment(self._directory, self._mode):
            artifact = Artifact(f"checkpoint-{self._run.id}", type="checkpoint")
            artifact.add_file(str(path))
            self._run.log_artifact(artifact)

    def flush(self) -> None:
        pass  # rows are in W&B's process as soon as they are logged

    def finish(self, exit_code: int = 0) -> None:
        self._log_points(self._points.rest())
        with _environment(self._directory, self._mode):
            self._run.finish(exit_code=exit_code)

    def _log_points(self, points: list[Point]) -> None:
        for end, values, spread in points:
            histograms = {name: array_histogram(each) for name, each in spread.items()}
            self._run.log({STEP: end, **values, **histograms}, step=end)

    def _log_event(self, row: dict[str, Any]) -> None:
        """Log values in the row of the last iteration, which remains open until the next one."""
        self._log_points(self._points.rest())
        end = self._points.end
        known = {} if end is None else {STEP: end}
        with _environment(self._directory, self._mode):
            self._run.log({**known, **row}, step=end)


@contextmanager
def _environment(directory: Path, mode: str) -> Iterator[None]:
    """Let W&B keep its caches below ``directory``, not ask for a login, and not report errors when offline.

    It takes these settings from the environment only. What the user has set stays.
    """
    place = (directory / "wandb").resolve()
    wanted = {"WANDB_SILENT": "true", "WANDB_CACHE_DIR": f"{place}/cache", "WANDB_DATA_DIR": f"{place}/data"}
    if mode == "offline":
        wanted["WANDB_ERROR_REPORTING"] = "false"
    added = {key: value for key, value in wanted.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)
