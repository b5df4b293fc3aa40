"""How much memory a configuration needs at least, before any of it is allocated."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from metalearn.sources import BLOCK_BYTES

from ..errors import UsageError
from ..runs.identity import Config
from .build import build

NUMBER = 4
"""Bytes of a number in float32."""

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files with the memory limit of a container."""

TARGETS = 1
"""Smallest number of values that a task's example has in addition to its inputs."""


def require(config: Config) -> None:
    """Raise UsageError if a configuration needs too much memory, naming the part and both sizes.

    The estimate is a lower bound: examples of a meta-batch and of the evaluation, parameters of the model
    with a gradient and two moments, the inner loop's copies of them, losses by task and step.
    """
    there = available()
    for what, needed in estimate(config).items():
        if needed > there:
            raise UsageError(
                f"{what} need at least {_size(needed)} of memory, but this machine has {_size(there)}: "
                "make them smaller"
            )


def estimate(config: Config) -> dict[str, float]:
    """Return a lower bound of the bytes of each part that can be large, by the settings that determine it."""
    task, evaluation = config["task"], {**config["task"], **(config["evaluation"].get("task") or {})}
    tasks, steps = config["training"]["meta_batch_size"], config["learner"]["steps"]
    inputs = max(1, _count(task.get("input_size")), _count(config["model"].get("input_size")))
    width = inputs + TARGETS
    parameters = _parameters(config["model"], inputs)
    asked = config["evaluation"]
    needed: dict[str, float] = {
        "training.meta_batch_size, task.shots and task.queries": tasks * _examples(task) * width,
        "evaluation.tasks with its task.shots and task.queries": _in_block(
            asked["tasks"], _examples(evaluation) * width
        ),
        "evaluation.tasks and evaluation.steps": asked["tasks"] * (asked["steps"] + 1),
    }
    if not config.get("problem"):  # whose model is its own
        needed |= {
            "model.hidden, input_size and output_size": 4 * parameters,
            "training.meta_batch_size, with a copy of the model for each task,": 2 * tasks * parameters,
        }
        # Estimators that support a loss at every step store all of these losses for the backward pass.
        if getattr(
            build(config["estimator"], "estimator", config.get("packages", ())), "weighs_steps", False
        ):
            needed["learner.steps, whose losses are stored for the backward pass,"] = tasks * steps
    return {what: float(NUMBER) * count for what, count in needed.items()}


def available() -> int:
    """Return the bytes of memory that are available to this process."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in LIMITS:
        try:
            sizes.append(int(path.read_text()))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return min(sizes)


def _examples(task: Mapping[str, Any]) -> int:
    return _count(task.get("shots")) + _count(task.get("queries"))


def _in_block(tasks: int, numbers: int) -> int:
    """Return the number of values in the tasks of an evaluation that are drawn at a time."""
    return numbers * min(tasks, max(1, BLOCK_BYTES // max(1, NUMBER * numbers)))


def _parameters(model: Mapping[str, Any], inputs: int) -> int:
    """Return the weights of a model of consecutive layers; 0 for a model that is specified in another way."""
    hidden = model.get("hidden")
    if not isinstance(hidden, list) or not all(isinstance(width, int) for width in hidden):
        return 0
    widths = [inputs, *hidden, _count(model.get("output_size"))]
    return sum((before + 1) * after for before, after in pairwise(widths))


def _count(value: Any) -> int:
    """Return a setting that is a number; 1 if it is not a number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 1


def _size(size: float) -> str:
    power = min(int(math.log2(max(size, 1)) // 10), 8)
    return f"{size / 1024**power:.4g} {('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB', 'ZiB', 'YiB')[power]}"
