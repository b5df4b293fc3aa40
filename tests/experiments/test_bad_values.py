"""Every setting of the training command with values that mostly cannot be: one line says so, no traceback."""

from __future__ import annotations

import collections
import sys

import hydra
import pytest
from omegaconf import OmegaConf

from experiments.harness.config import schema
from experiments.harness.config.settings import SETTINGS
from experiments.harness.config.trust import CONFIGS
from experiments.harness.session import training as session
from tests.experiments.small_runs import SHORT, run

VALUES = [
    "null",
    "''",
    "abc",
    "-1",
    "0",
    "1",
    "2.5",
    "inf",
    "nan",
    "true",
    "no",
    "[]",
    "[1,2,3]",
    "[[],null]",
]
VALUES += ["{a:1}", "1000000000000", "1e30", "'\\\\x1b[31m{é}'"]

TRAINED = 2

TINY = [*SHORT, "training.iterations=2", "evaluation.tasks=2"]

OTHERS = [
    "task",
    "model",
    "rule",
    "estimator",
    "optimizer",
    "algorithm",
    "experiment",
    "tracking",
    "evaluation",
]
OTHERS += ["training", "learner", "validation", "diagnostics", "run", "paths", "rule._target_", "no_such"]
"""Groups and sections that are given values, and what is no setting."""


def defaults():
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = hydra.compose("train", ["label=maml", "name=sinusoid"])
    return OmegaConf.to_container(composed, resolve=True)


PATHS = [described.path for described in schema.describe(defaults())]


def test_every_setting_is_declared_with_kind_default_and_help():
    """The default is of the kind that is declared; nothing of the default configuration is left out."""
    config = defaults()
    described = {each.path: each for each in schema.describe(config)}
    undeclared = {path for path, _ in schema._leaves(config, "") if path not in described}
    assert {path.rpartition(".")[2] for path in undeclared} == {"_target_"}
    assert len(described) > 50
    for path, each in described.items():
        assert each.help
        assert each.kind
        setting = SETTINGS.get(path) or SETTINGS[schema._of_task(path)]
        assert setting.kind.take(path, each.default) == each.default
    assert described["learner.steps"].default == 1
    assert described["training.clip_task_norm"].kind == "a finite number above 0, or null for none"
    assert described["evaluation.task.queries"].kind == SETTINGS["task.queries"].kind.text
    assert schema.check(config) == config


@pytest.mark.slow
@pytest.mark.parametrize("path", [*PATHS, *OTHERS])
def test_no_value_gets_a_traceback(path, tmp_path, capfd, monkeypatch):
    """Of values that are taken, the first are trained with; the others are built."""
    monkeypatch.chdir(tmp_path)  # where paths.runs=abc leads
    go_on, trained = session._go_on, []

    def some(*arguments):
        trained.append(arguments)
        return go_on(*arguments) if len(trained) <= TRAINED else 0

    monkeypatch.setattr(session, "_go_on", some)
    codes: collections.Counter[int] = collections.Counter()
    for value in VALUES:
        tracking = ["tracking=wandb", "tracking.mode=disabled"] if path.startswith("tracking.") else []
        place = None if path == "paths.runs" else tmp_path
        code = run(place, [*TINY, *tracking, f"{path}={value}"])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err + captured.out, f"{path}={value}"
        assert code in (0, 1, 2), f"{path}={value}"
        if code == 2:
            assert captured.err.startswith("error: "), f"{path}={value}"
        codes[code] += 1
    with capfd.disabled():
        sys.stdout.write(f"{path}: {dict(codes)}, 0 tracebacks\n")
