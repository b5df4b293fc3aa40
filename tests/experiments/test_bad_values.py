"""Every setting of the training command with mostly invalid values: a message of one line, no traceback."""

from __future__ import annotations

import collections
import sys

import hydra
import pytest
from omegaconf import OmegaConf

from experiments.harness.config import schema
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
OTHERS += [
    "setting",
    "training",
    "learner",
    "validation",
    "diagnostics",
    "run",
    "paths",
    "rule._target_",
    "no_such",
]
"""Groups and sections that are given values, and what is no setting."""


def defaults():
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = hydra.compose("train", ["label=maml", "name=sinusoid"])
    return OmegaConf.to_container(composed, resolve=True)


PATHS = [described.path for described in schema.describe(defaults())]


@pytest.mark.slow
@pytest.mark.parametrize("path", [*PATHS, *OTHERS])
def test_no_value_gets_a_traceback(path, tmp_path, capfd, monkeypatch):
    """Every value has exit code 0, 1 or 2 with a message, without a traceback.

    The first accepted values are used in a training; for the others, only objects are built.
    """
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
