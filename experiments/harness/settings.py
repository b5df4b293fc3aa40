"""The sections of a configuration that describe no object: their settings and their checks."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.harness.cli import UsageError, nearest
from metalearn.checks import require_count, require_positive

Config = dict[str, Any]

OBJECTS = ("task", "model", "rule", "estimator", "optimizer")

SECTIONS = {
    "learner": ("loss", "steps", "adapted", "proximal", "head", "step_weights", "mapping"),
    "training": ("iterations", "meta_batch_size", "clip_task_value", "clip_task_norm", "jit_compile"),
    "evaluation": ("tasks", "steps", "seed", "task"),
    "tracking": ("backend", "mode", "project", "group", "name", "interval", "histogram_interval"),
    "validation": ("interval", "tasks", "steps", "seed"),
    "diagnostics": ("interval",),
    "run": ("checkpoint_seconds", "fresh"),
    "paths": ("runs",),
}

VALUES = ("name", "label", "seed")

BACKENDS = ("wandb", "none")

MODES = ("offline", "online", "disabled")


def resolve(config: DictConfig) -> Config:
    """Return the configuration as plain data, interpolations resolved.

    Raises:
        UsageError: if a section or a setting is not known, or a number is out of range.
    """
    resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    check(resolved)  # type: ignore[arg-type]
    return resolved  # type: ignore[return-value]


def check(config: Config) -> None:
    """Raise UsageError for the first thing in ``config`` that cannot be."""
    known = [*VALUES, *OBJECTS, *SECTIONS]
    for key in config:
        if key not in known:
            raise UsageError(f"there is no setting {key}{nearest(str(key), known)}")
    for key in known:
        if key not in config:
            raise UsageError(f"the configuration lacks {key}")
    for section in OBJECTS:
        if not isinstance(config[section], dict) or "_target_" not in config[section]:
            raise UsageError(f"{section}={config[section]} does not say what to build: it needs a _target_")
    for section, keys in SECTIONS.items():
        if not isinstance(config[section], dict):
            raise UsageError(f"{section}={config[section]} must be a section with {', '.join(keys)}")
        known_here = [f"{section}.{key}" for key in keys]
        for key in config[section]:
            if key not in keys:
                raise UsageError(
                    f"there is no setting {section}.{key}{nearest(f'{section}.{key}', known_here)}"
                )
    try:
        require_count("seed", config["seed"], minimum=0)
        require_count("training.iterations", config["training"].get("iterations"))
        require_count("evaluation.tasks", config["evaluation"].get("tasks"), minimum=2)
        require_count("evaluation.steps", config["evaluation"].get("steps"), minimum=0)
        require_count("evaluation.seed", config["evaluation"].get("seed"), minimum=0)
        require_count("validation.tasks", config["validation"].get("tasks"), minimum=2)
        require_count("validation.steps", config["validation"].get("steps"), minimum=0)
        require_count("validation.seed", config["validation"].get("seed"), minimum=0)
        for section in ("diagnostics", "validation"):
            if config[section].get("interval") is not None:
                require_count(f"{section}.interval (null for none)", config[section]["interval"])
        require_positive("run.checkpoint_seconds", config["run"].get("checkpoint_seconds"))
    except ValueError as error:
        raise UsageError(str(error)) from error
    if config["validation"]["seed"] == config["evaluation"]["seed"]:
        raise UsageError(
            f"validation.seed={config['validation']['seed']} is evaluation.seed, too: what is chosen by "
            "validation must not be evaluated on the same tasks"
        )
    _check_tracking(config["tracking"])
    name = str(config["name"])
    if not name.replace("_", "").replace("-", "").isalnum():
        raise UsageError(f"name={name} must be a plain folder name of letters, digits, - and _")


def _check_tracking(settings: Config) -> None:
    backend, mode = settings.get("backend"), settings.get("mode")
    if backend not in BACKENDS:
        raise UsageError(f"tracking.backend={backend} is not known{nearest(str(backend), list(BACKENDS))}")
    if backend == "none":
        return
    if mode not in MODES:
        raise UsageError(f"tracking.mode={mode} is not known{nearest(str(mode), list(MODES))}")
    for key in ("interval", "histogram_interval"):
        try:
            require_count(f"tracking.{key}", settings.get(key))
        except ValueError as error:
            raise UsageError(str(error)) from error
