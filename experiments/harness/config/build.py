"""Objects from configuration: only those that it may name, with errors that name the setting."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

import metalearn as ml
from metalearn.callbacks import Callback

from ..cache import traced
from ..errors import UsageError, nearest
from ..runs.identity import Config
from ..runs.rundir import RunDirectory
from ..tracking.tensorboard import tensorboard_tracker
from ..tracking.trackers import NoTracker, Tracker
from ..tracking.wandb import wandb_tracker
from .targets import find

LONGEST_TAG = 64
"""Largest number of characters of a tag in W&B."""

LEARNER = (
    "estimator",
    "rule",
    "mapping",
    "initialize",
    "posed",
    "parts",
    "whole",
    "next_state",
    "require_fit",
)
"""The attributes of every learner."""


PARTS = {"task": "train", "validation.task": "validation", "evaluation.task": "test"}
"""The part that is drawn from a source with several parts, by the setting of the task."""


def build_tasks(config: Config, path: str = "task", changes: Config | None = None) -> ml.tasks.Source:
    """Return the task distribution of ``config["task"]`` with changes, which are the settings at ``path``.

    If the source has several parts, ``path`` decides which of them is used.
    """
    source = build({**config["task"], **(changes or {})}, path, config.get("packages", ()))
    if not callable(getattr(source, "split", None)):
        return source
    with failing_as(path):
        return source.split(PARTS[path])


def build_learner(config: Config) -> ml.Learner:
    """Return the learner of the sections model, rule, estimator and learner; or that of problem."""
    packages = config.get("packages", ())
    if config.get("problem"):
        learner = build(config["problem"], "problem", packages)
        missing = [name for name in LEARNER if not hasattr(learner, name)]
        if missing:
            raise UsageError(
                f"problem._target_={config['problem']['_target_']} returns a {type(learner).__name__}, "
                f"which is not a learner: it has no {missing[0]}. Let it return a metalearn.BilevelLearner"
            )
        return learner
    settings = dict(config["learner"])
    loss, metrics, attack = settings.pop("loss"), settings.pop("metrics"), settings.pop("attack", None)
    model = build(config["model"], "model", packages)
    if not isinstance(model, keras.Model) or not model.built:
        raise UsageError(
            f"model._target_={config['model']['_target_']} returns {model!r}, which has to be a built "
            "Keras model: give it an Input"
        )
    clean: ml.MetaLearner = _call(
        ml.MetaLearner,
        {
            "model": model,
            "rule": build(config["rule"], "rule", packages),
            "estimator": build(config["estimator"], "estimator", packages),
            "loss": _loss(loss, packages),
            "metrics": [find(each, "learner.metrics", packages) if "." in each else each for each in metrics],
            **build(settings, "learner", packages),
        },
        "learner",
    )
    if attack is None:
        return clean
    return ml.attacks.Robust(clean, build(attack, "learner.attack", packages))


def judged(config: Config, learner: ml.Learner) -> ml.Learner:
    """Return the learner that is evaluated, which may have another rule than in training, and be attacked."""
    changes = config["evaluation"].get("rule")
    if changes:
        learner = _with_rule(config, changes, learner)
    described = config["evaluation"].get("attacks")
    if described is None:
        return learner
    judges = build(described, "evaluation.attacks", config.get("packages", ()))
    robust = learner if isinstance(learner, ml.attacks.Robust) else ml.attacks.Robust(learner)
    with failing_as("evaluation.attacks"):
        return dataclasses.replace(robust, judges=judges)


def _with_rule(config: Config, changes: Config, learner: Any) -> ml.Learner:
    """Return the learner with another inner rule; raise UsageError if it has none, or learns its values."""
    if config.get("problem"):
        raise UsageError("evaluation.rule changes the section rule, which a problem does not use: omit it")
    if isinstance(learner, ml.attacks.Robust):
        return dataclasses.replace(learner, learner=_with_rule(config, changes, learner.learner))
    rule = build({**config["rule"], **changes}, "evaluation.rule", config.get("packages", ()))
    changed = dataclasses.replace(learner, rule=rule)
    if any(each.initialize(0)["rule"] for each in (learner, changed)):
        raise UsageError(
            f"evaluation.rule={changes} changes a rule with meta-learned values, which the evaluation takes "
            "from the training: omit it"
        )
    return changed


def loss_name(config: Config) -> str:
    """Return the name of the loss of a configuration in tables and figures."""
    loss = config["problem"] if config.get("problem") else config["learner"]["loss"]
    return str(loss["_target_"] if isinstance(loss, dict) else loss).rpartition(".")[2]


def _loss(loss: Any, packages: Sequence[str]) -> Any:
    """Return a loss by its name, by its dotted name in a trusted package, or the object that is described."""
    if isinstance(loss, dict):
        return build(loss, "learner.loss", packages)
    if "." in loss:
        return find(loss, "learner.loss", packages)
    if loss not in ml.losses.OWN:
        raise UsageError(f"learner.loss={loss} is not known{nearest(loss, list(ml.losses.OWN))}")
    return loss


def build_trainer(config: Config, workers: ml.workers.Workers | None = None) -> ml.MetaTrainer:
    """Return the trainer of a complete configuration.

    Without the workers that share a run, its trainer can be inspected, restored and evaluated.
    """
    settings = {key: value for key, value in config["training"].items() if key != "iterations"}
    count = settings.pop("workers", 1)
    parts = {
        "learner": build_learner(config),
        "tasks": build_tasks(config),
        "optimizer": build(config["optimizer"], "optimizer", config.get("packages", ())),
        "seed": config["seed"],
        "workers": workers or ml.workers.Workers(count=count),
        "check_derivatives": config.get("run", {}).get("check_derivatives", True),
        "cache": traced.stored(config),
    }
    return _call(ml.MetaTrainer, {**parts, **settings}, "training")


def build_callbacks(config: Config) -> list[Callback[ml.MetaTrainer]]:
    """Return the callbacks of a configuration, which are defined in packages of the user.

    The callbacks of :mod:`metalearn.callbacks` cannot be named, because they can write to any path.
    """
    described = config.get("callbacks", [])
    found = build(described, "callbacks", config.get("packages", ()))
    for index, (node, callback) in enumerate(zip(described, found, strict=True)):
        if not callable(getattr(callback, "begin", None)):
            raise UsageError(
                f"callbacks[{index}]._target_={node['_target_']} returns a {type(callback).__name__}, which "
                "has no method begin: let it return a callback, see metalearn.callbacks"
            )
    return found


def build_tracker(config: Config, run: RunDirectory, iteration: int = 0) -> Tracker:
    """Return the tracker of ``config["tracking"]``, for a run that starts or resumes at an iteration."""
    settings = {key: value for key, value in config["tracking"].items() if key != "backend"}
    described, default = {"directory": run.path, "config": config}, f"{config['label']} {config['name']}"
    if config["tracking"]["backend"] == "tensorboard":
        return _call(tensorboard_tracker, {**described, "iteration": iteration, **settings}, "tracking")
    if config["tracking"]["backend"] == "none" or settings["mode"] == "disabled":
        return NoTracker()
    settings["name"] = f"{settings['name'] or default} {run.path.name}"
    parts = ("task", "problem") if config.get("problem") else ("task", "estimator")
    tags = [config["label"], *(config[part]["_target_"].rpartition(".")[2] for part in parts)]
    described |= {"run_id": run.path.name, "tags": [tag[:LONGEST_TAG] for tag in dict.fromkeys(tags)]}
    return _call(wandb_tracker, {**described, **settings}, "tracking")


def build(node: Any, path: str, packages: Sequence[str] = ()) -> Any:
    """Build what ``node`` describes: a mapping with ``_target_`` is called with its other entries.

    Args:
        node: a node of a configuration.
        path: the path of its setting, for errors.
        packages: the packages that it may name in addition to this one.

    Raises:
        UsageError: if a target is not allowed, or does not take or accept a setting.
    """
    if isinstance(node, list):
        return [build(item, f"{path}[{index}]", packages) for index, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    settings = {
        key: build(value, f"{path}.{key}", packages) for key, value in node.items() if key != "_target_"
    }
    if "_target_" not in node:
        return settings
    return _call(find(node["_target_"], f"{path}._target_", packages), settings, path)


def takes(node: Config, setting: str, path: str, packages: Sequence[str]) -> bool:
    """Return whether the object that ``node`` names takes a setting."""
    return _takes(inspect.signature(find(node["_target_"], f"{path}._target_", packages)), setting)


def _takes(signature: inspect.Signature, setting: str) -> bool:
    open_ended = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    return open_ended or setting in signature.parameters


def _call(target: Callable[..., Any], settings: Config, path: str) -> Any:
    signature = inspect.signature(target)
    for key in settings:
        if not _takes(signature, key):
            known = [f"{path}.{parameter}" for parameter in signature.parameters]
            raise UsageError(f"there is no setting {path}.{key}{nearest(f'{path}.{key}', known)}")
    with failing_as(path):
        return target(**settings)


@contextmanager
def failing_as(path: str) -> Iterator[None]:
    """Convert any error within the context, caused by settings, to a UsageError that names their path.

    TensorFlow, Keras and NumPy raise dozens of types of errors for invalid arguments.
    """
    try:
        yield
    except UsageError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: {error}") from error
    except Exception as error:
        raise UsageError(f"{path}: {type(error).__name__}: {error}") from error
