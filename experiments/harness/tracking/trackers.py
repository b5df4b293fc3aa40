"""Tracking: means over windows, and histograms, sent to Weights & Biases; offline unless asked otherwise."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from metalearn.checks import require_count
from metalearn.evaluation.evaluation import Evaluation
from metalearn.training.errors import History
from metalearn.types import Meta

from ..console import say
from .charts import STEP, array_histogram, define, histograms, in_groups
from .windows import Window, Windows, length

MODES = ("offline", "online", "disabled")

REMEDIES = {
    "online": "run `wandb login`, check the network, or use tracking.mode=offline",
    "offline": "use tracking=none",
}

PRIVATE = ("disable_code", "disable_git", "x_disable_meta", "x_disable_stats", "x_disable_machine_info")
"""W&B settings that keep code, git state and facts about the machine out of the run."""

_log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Where a run reports to while it goes on."""

    def log(self, first_iteration: int, history: History, gradient: Meta | None, seconds: float) -> None:
        """Take the rows of consecutive iterations, as ``MetaTrainer.run`` returns them.

        ``first_iteration`` counts from 0, ``gradient`` is the meta-gradient of the last of the iterations,
        ``seconds`` the wall time that they took.
        """
        ...

    def diagnosis(self, iteration: int, row: dict[str, float], learned: dict[str, np.ndarray]) -> None:
        """Take what is known of the meta-gradient after so many iterations, and learned hyperparameters."""
        ...

    def divergence(self, reason: str) -> None:
        """Take note that training has stopped, as something is not finite."""
        ...

    def evaluation(self, evaluation: Evaluation, metric: str) -> None:
        """Take the outcome of an evaluation; ``metric`` names the loss (``"mse"``)."""
        ...

    def figures(self, paths: dict[str, Path]) -> None:
        """Take images by name."""
        ...

    def checkpoint(self, path: Path) -> None:
        """Take the final checkpoint."""
        ...

    def finish(self, exit_code: int = 0) -> None:
        """Send what is left and close; doing so again changes nothing."""
        ...


def no_tracker() -> Tracker:
    """Return a tracker that keeps nothing."""
    return _NoTracker()


def wandb_tracker(
    *,
    directory: Path,
    config: dict[str, Any],
    run_id: str,
    name: str,
    group: str | None,
    mode: str = "offline",
    project: str = "metalearn",
    interval: int = 100,
    histogram_interval: int = 1000,
) -> Tracker:
    """Open a Weights & Biases run whose files all stay below ``directory/wandb``.

    One row is logged for each window of ``interval`` iterations, with the iteration as W&B's step, so that
    iterations which a resumed run repeats are not logged twice. Offline nothing touches the network, and
    in no mode is anything printed, nor are code, git state or facts about the machine recorded.

    Args:
        directory: folder of the run.
        config: the resolved configuration.
        run_id: W&B's id; the same id online resumes the run.
        name: shown on the web page.
        group: of runs; none if None.
        mode: ``offline``, ``online`` or ``disabled`` (a tracker that keeps nothing).
        project: of W&B.
        interval: iterations that one logged row is the mean of, at least 1.
        histogram_interval: iterations between histograms of the meta-gradient, at least 1; there is at
            most one for each call of :meth:`Tracker.log`.

    Raises:
        ValueError: if the mode is unknown, an interval is not a positive integer, or an online run could not
            be opened (without login or network). One that is offline is done without, and that is said.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r} is not one of {', '.join(MODES)}")
    windows = Windows(interval)
    require_count("histogram_interval", histogram_interval)
    if mode == "disabled":
        return no_tracker()
    directory.mkdir(parents=True, exist_ok=True)
    described = {"id": run_id, "name": name, "group": group, "project": project, "config": config}

    def start() -> Tracker:
        with _environment(directory, mode):
            run = _open(mode, dir=str(directory), **described)
        define(run)
        return _WandbTracker(run, directory, mode, windows, histogram_interval)

    return Dispensable(start, required=mode == "online")


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


class _NoTracker:
    @staticmethod
    def _ignore(*_: object, **__: object) -> None:
        pass

    log = diagnosis = divergence = evaluation = figures = checkpoint = finish = _ignore


class _WandbTracker:
    def __init__(self, run: Any, place: Path, mode: str, windows: Windows, histogram_interval: int) -> None:
        self._run, self._directory, self._mode = run, place, mode
        self._windows, self._histogram_interval = windows, histogram_interval
        self._end: int | None = None
        self._histograms: dict[str, Any] = {}

    def log(self, first_iteration: int, history: History, gradient: Meta | None, seconds: float) -> None:
        rows = length(history)
        if rows == 0:
            return
        if self._end not in (None, first_iteration):
            self._log_rows(self._windows.rest())
        self._end = first_iteration + rows
        crossed = self._end // self._histogram_interval > first_iteration // self._histogram_interval
        if gradient is not None and crossed:
            self._histograms = histograms(gradient)
        columns = {**history, "seconds": np.full(rows, seconds / rows)}
        self._log_rows(self._windows.add(first_iteration, columns))

    def diagnosis(self, iteration: int, row: dict[str, float], learned: dict[str, np.ndarray]) -> None:
        self._log_rows(self._windows.rest())
        spread = {
            f"learned/histogram/{name}": array_histogram(values)
            for name, values in learned.items()
            if values.size > 1
        }
        self._run.log({STEP: iteration, **row, **spread}, step=iteration)

    def divergence(self, reason: str) -> None:
        if self._mode == "online":  # offline there is nobody to be called
            self._run.alert(title="Meta-training diverged", text=reason, level="ERROR")

    def evaluation(self, evaluation: Evaluation, metric: str) -> None:
        from wandb import Table

        columns = ["steps", f"{metric} mean", "ci95", "num_tasks"]
        steps, means, intervals = (np.asarray(part).tolist() for part in evaluation[:3])
        rows = [[*row, evaluation.num_tasks] for row in zip(steps, means, intervals, strict=True)]
        self._log_event({"evaluation/table": Table(columns=columns, data=rows)})
        after = zip(steps, means, strict=True)
        self._run.summary.update({f"evaluation/{metric}_after_{step}": mean for step, mean in after})

    def figures(self, paths: dict[str, Path]) -> None:
        from wandb import Image

        self._log_event({f"figures/{name}": Image(str(path)) for name, path in paths.items()})

    def checkpoint(self, path: Path) -> None:
        from wandb import Artifact

        with _environment(self._directory, self._mode):
            artifact = Artifact(f"checkpoint-{self._run.id}", type="checkpoint")
            artifact.add_file(str(path))
            self._run.log_artifact(artifact)

    def finish(self, exit_code: int = 0) -> None:
        self._log_rows(self._windows.rest())
        with _environment(self._directory, self._mode):
            self._run.finish(exit_code=exit_code)

    def _log_rows(self, windows: list[Window]) -> None:
        for end, means in windows:
            seconds = means.pop("seconds")
            rate = {"iterations_per_second": 1 / seconds} if seconds > 0 else {}
            spread = self._histograms if end == windows[-1][0] else {}
            self._run.log({STEP: end, **in_groups(means | rate), **spread}, step=end)
        if windows:
            self._histograms = {}

    def _log_event(self, row: dict[str, Any]) -> None:
        """Log something of now: in the row of the last iteration, which stays open until the next one."""
        self._log_rows(self._windows.rest())
        known = {} if self._end is None else {STEP: self._end}
        with _environment(self._directory, self._mode):
            self._run.log({**known, **row}, step=self._end)


class Dispensable:
    """A tracker that a run can do without: when it fails, that is said once, and it is told nothing more.

    Whatever is lost of it, a process, a disk, a home, the run's own files have all that it was told.
    """

    def __init__(self, start: Callable[[], Tracker], required: bool) -> None:
        """Start the tracker.

        Args:
            start: makes it.
            required: whether to raise what that raises.
        """
        self._tracker = no_tracker()
        with nullcontext() if required else self._dispensing():
            self._tracker = start()

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(*arguments: Any, **settings: Any) -> None:
            with self._dispensing():
                getattr(self._tracker, name)(*arguments, **settings)

        return tell

    @contextmanager
    def _dispensing(self) -> Iterator[None]:
        with suppress(Exception):
            try:
                yield
            except Exception as error:
                self._lose(error)
                raise

    def _lose(self, error: Exception) -> None:
        self._tracker = no_tracker()
        say(
            f"{type(error).__name__}: {error}. The run goes on; its folder has all metrics",
            "tracking stopped:",
            "bold yellow",
        )
        import wandb

        with suppress(Exception):  # so that its process, if it is gone, is not waited for at exit
            wandb.teardown()


@contextmanager
def _environment(directory: Path, mode: str) -> Iterator[None]:
    """Have W&B keep its caches below ``directory``, not ask for a login, not report errors when offline.

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
