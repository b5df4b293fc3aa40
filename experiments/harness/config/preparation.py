"""All objects of a configuration, built and checked against each other before training starts."""

from __future__ import annotations

import metalearn as ml
from metalearn.evaluation.query_batches import batched
from metalearn.evaluation.task_list import EVALUATION_STREAM
from metalearn.sources.leaves import with_extremes
from metalearn.sources.protocol import is_constant

from ..runs.identity import Config
from . import memory
from .build import build_callbacks, build_tasks, build_trainer, failing_as, judged, takes

DEFAULTS = ("queries", "grid")
"""Default changes of the evaluation's task, which are ignored by tasks without such a setting."""

LOOKED_AT = 2
"""Number of tasks that are drawn to check their shapes."""


def prepare(config: Config, workers: ml.workers.Workers | None = None) -> ml.MetaTrainer:
    """Return the trainer of a configuration, after building all of its objects, also for the evaluation.

    Args:
        config: the resolved configuration.
        workers: the workers that share the run, which this process has joined.

    Raises:
        UsageError: for the first part that cannot be built, or if the run needs more memory than is
            available.
    """
    memory.require(config)
    build_callbacks(config)
    trainer = build_trainer(config) if workers is None else build_trainer(config, workers)
    sections = ["evaluation"] if config["validation"]["interval"] is None else ["evaluation", "validation"]
    for section in sections:
        with failing_as(section):
            tasks = tasks_of(config, section)
            seed = config[section]["seed"], EVALUATION_STREAM
            learner = judged(config, trainer.learner) if section == "evaluation" else trainer.learner
            drawn = tasks.sample(seed, number(tasks, LOOKED_AT))
            learner.require_fit(with_extremes(tasks, drawn))
            batched(drawn, config[section].get("queries_at_once", "all"), seed)
    return trainer


def number(tasks: ml.tasks.Source, wanted: int) -> int:
    """Return the number of tasks to draw, which is one if the source is a single data set."""
    return 1 if is_constant(tasks) else wanted


def tasks_of(config: Config, section: str) -> ml.tasks.Source:
    """Return the distribution of ``config["task"]`` with the changes for evaluation or validation."""
    changes, packages = dict(config[section].get("task") or {}), config.get("packages", ())
    for name in DEFAULTS:
        if not takes(config["task"], name, "task", packages):
            changes.pop(name, None)
    return build_tasks(config, f"{section}.task", changes)
