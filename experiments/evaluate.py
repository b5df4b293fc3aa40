"""Evaluate a trained run with other shots, steps or ranges: ``python -m experiments.evaluate run=<dir>``."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.harness.cli import run_application
from experiments.harness.quiet import import_tensorflow


def main(config: DictConfig) -> int:
    """Evaluate as configured; return the exit code."""
    import_tensorflow()
    from experiments.harness.overrides import changes
    from experiments.harness.results import evaluate_again

    return evaluate_again(*changes(config, HydraConfig.get().overrides.task))


if __name__ == "__main__":
    run_application(main, "evaluate")
