"""Objects from configuration: only what is on the list, with errors that name the setting."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

import metalearn as ml

from ..errors import UsageError, nearest
from ..runs.rundir import RunDirectory
from ..tracking.trackers import Tracker, no_tracker, wandb_tracker

Config = dict[str, Any]

PACKAGES = {
    "metalearn.models": ml.models,
    "metalearn.rules": ml.rules,
    "metalearn.estimators": ml.estimators,
    "metalearn.heads": ml.heads,
    "metalearn.step_weights": ml.step_weights,
    "metalearn.tasks": ml.tasks,
    "keras.optimizers": keras.optimizers,
    "keras.optimizers.schedules": keras.optimizers.schedules,
}
"""What a configuration may name: a folder of runs from a stranger must not run other code."""

KERAS_CLASSES = (keras.optimizers.Optimizer, keras.optimizers.schedules.LearningRateSchedule)


def build_tasks(config: Config, path: str = "task", changes: Config | None = None) -> ml.tasks.Source:
    """Return the task distribution of ``config["task"]``, with changes, which are settings at ``path``."""
    return build({**config["task"], **(changes or {})}, path)


def build_learner(config: Config) -> ml.MetaLearner:
    """Return the learner of the sections model, rule, estimator and learner."""
    settings = dict(config["learner"])
    loss = settings.pop("loss")
    if loss not in ml.losses.OWN:
        raise UsageError(f"learner.loss={loss} is not known{nearest(str(loss), list(ml.losses.OWN))}")
    return _call(
        ml.MetaLearner,
        {
            "model": build(config["model"], "model"),
            "rule": build(config["rule"], "rule"),
            "estimator": build(config["estimator"], "estimator"),
            "loss": loss,
            **build(settings, "learner"),
        },
        "learner",
    )


def build_trainer(config: Config) -> ml.MetaTrainer:
    """Return the trainer of a whole configuration."""
    settings = {key: value for key, value in config["training"].items() if key != "iterations"}
    parts = {
        "learner": build_learner(config),
        "tasks": build_tasks(config),
        "optimizer": build(config["optimizer"], "optimizer"),
        "seed": config["seed"],
        "check_derivatives": config.get("run", {}).get("check_derivatives", True),
    }
    return _call(ml.MetaTrainer, {**parts, **settings}, "training")


def build_tracker(config: Config, run: RunDirectory) -> Tracker:
    """Return the tracker of ``config["tracking"]``."""
    settings = {key: value for key, value in config["tracking"].items() if key != "backend"}
    if config["tracking"]["backend"] == "none" or settings["mode"] == "disabled":
        return no_tracker()
    settings["name"] = " ".join(filter(None, (settings["name"], run.path.name)))
    described = {"directory": run.path, "config": config, "run_id": run.path.name}
    return _call(wandb_tracker, {**described, **settings}, "tracking")


def build(node: Any, path: str) -> Any:
    """Build what ``node`` describes: a mapping with ``_target_`` is called with its other entries.

    Raises:
        UsageError: if a target is not on the list, or does not take or accept a setting.
    """
    if isinstance(node, list):
        return [build(item, f"{path}[{index}]") for index, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    settings = {key: build(value, f"{path}.{key}") for key, value in node.items() if key != "_target_"}
    if "_target_" not in node:
        return settings
    return _call(_resolve(node["_target_"], path), settings, path)


def _resolve(target: Any, path: str) -> Callable[..., Any]:
    package, _, name = str(target).rpartition(".")
    module = PACKAGES.get(package)
    found = getattr(module, name, None) if module and not name.startswith("_") else None
    ours = package.startswith("metalearn.") and name in getattr(module, "__all__", [])
    if (ours and (inspect.isfunction(found) or inspect.isclass(found))) or (
        inspect.isclass(found) and issubclass(found, KERAS_CLASSES)
    ):
        return found
    raise UsageError(
        f"{path}._target_={target} is not allowed: name a public function or class of {', '.join(PACKAGES)}"
    )


def _call(target: Callable[..., Any], settings: Config, path: str) -> Any:
    parameters = inspect.signature(target).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for key in settings:
            if key not in parameters:
                known = [f"{path}.{parameter}" for parameter in parameters]
                raise UsageError(f"there is no setting {path}.{key}{nearest(f'{path}.{key}', known)}")
    with failing_as(path):
        return target(**settings)


@contextmanager
def failing_as(path: str) -> Iterator[None]:
    """Turn whatever goes wrong with settings in the context into UsageError, which names their path.

    TensorFlow, Keras and NumPy raise dozens of kinds of errors at arguments that cannot be.
    """
    try:
        yield
    except UsageError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: {error}") from error
    except Exception as error:
        raise UsageError(f"{path}: {type(error).__name__}: {error}") from error
