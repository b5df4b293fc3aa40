"""TensorBoard: the same points and histograms as in Weights & Biases, as events in the folder of a run."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import yaml

from metalearn.evaluation.evaluation import Evaluation
from metalearn.training.history import History
from metalearn.types import Meta

from ..runs.files import TEMPORARY
from .charts import after_steps, finite, of_learned
from .points import Point, Points
from .trackers import Dispensable, Tracker

FOLDER, EVENTS = "tensorboard", "events.out.tfevents.*"

REMEDY = "pip install 'tensorboard>=2.20,<2.22', or tracking=wandb, or tracking=none"


def tensorboard_tracker(
    *,
    directory: Path,
    config: dict[str, Any],
    iteration: int = 0,
    **intervals: int,
) -> Tracker:
    """Write events below ``directory/tensorboard``: scalars, histograms, figures, the configuration.

    Each session of a run has its own file. A session that resumes from a checkpoint first removes the later
    events from the files of earlier sessions, so that no iteration has two points. Only the evaluation, which
    follows the last checkpoint, is written twice, with equal values, if the run was killed there. The point
    of a window that contains the checkpoint is the mean of the rows after it.

    Args:
        directory: the folder of the run.
        config: the resolved configuration.
        iteration: the iteration from which the run continues.
        intervals: those of points and of histograms, see :class:`.points.Points`.

    Raises:
        ValueError: if an interval is not a positive integer, or TensorBoard, whose summaries are written, is
            not installed. A folder that cannot be written to is reported, and the run continues.
    """
    points = Points(**intervals)
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError(f"TensorBoard is not installed: {REMEDY}")
    place = directory / FOLDER

    def start() -> Tracker:
        for path in place.glob(EVENTS):
            _go_back(path, iteration)
        tracker = _TensorBoardTracker(tf.summary.create_file_writer(str(place)), points)
        if iteration == 0:
            tracker.text("config", f"```yaml\n{yaml.safe_dump(config, sort_keys=False)}```")
        return tracker

    return Dispensable(start)


def _go_back(path: Path, iteration: int) -> None:
    """Remove the events of later iterations from a file; all of them, if a run starts again."""
    events = list(_events(path))
    kept = [event for event, step in events if step <= iteration and iteration]
    if not kept:
        path.unlink()
    elif len(kept) < len(events):
        partial = path.with_name(f".{path.name}{TEMPORARY}")
        with tf.io.TFRecordWriter(str(partial)) as writer:
            for event in kept:
                writer.write(event)
        partial.replace(path)


def _events(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield the events of a file and their iterations, up to the record in which a killed process cut it."""
    with suppress(tf.errors.DataLossError):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield record, tf.compat.v1.Event.FromString(record).step


class _TensorBoardTracker:
    def __init__(self, writer: Any, points: Points) -> None:
        self._writer, self._points = writer, points

    def text(self, name: str, text: str) -> None:
        with self._now():
            tf.summary.text(name, text)

    def log(self, first_iteration: int, history: History, gradient: Meta | None, seconds: float) -> None:
        self._write(self._points.add(first_iteration, history, gradient, seconds))

    def diagnosis(self, iteration: int, row: dict[str, float], learned: dict[str, np.ndarray]) -> None:
        self._write([*self._points.rest(), Point(iteration, row, of_learned(learned))])

    def divergence(self, reason: str) -> None:
        self.text("divergence", reason)

    def evaluation(self, evaluation: Evaluation, metric: str) -> None:
        with self._now() as end:
            self._write([Point(end, after_steps(evaluation, metric), {})])

    def figures(self, paths: dict[str, Path]) -> None:
        with self._now():
            for name, path in paths.items():
                tf.summary.image(f"figures/{name}", tf.io.decode_png(path.read_bytes(), channels=4)[None])

    def checkpoint(self, path: Path) -> None:
        pass  # it is in the folder with the events

    def flush(self) -> None:
        self._writer.flush()

    def finish(self, exit_code: int = 0) -> None:
        self._write(self._points.rest())
        self._writer.close()

    @contextmanager
    def _now(self) -> Iterator[int]:
        """Write the events of the context at the last iteration, after its points."""
        self._write(self._points.rest())
        end = self._points.end or 0
        with self._writer.as_default(end):
            yield end
        self._writer.flush()

    def _write(self, points: list[Point]) -> None:
        """Write one event with all names, as an event for each name takes ten times as long."""
        from tensorboard.plugins.histogram.summary_v2 import histogram_pb
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        for end, values, spread in points:
            summaries = [scalar_pb(name, value) for name, value in values.items()]
            summaries += [histogram_pb(name, finite(value)) for name, value in spread.items()]
            joined = b"".join(each.SerializeToString() for each in summaries)  # appends the values of each
            with self._writer.as_default(end):
                tf.summary.experimental.write_raw_pb(joined)
        self._writer.flush()
