"""Evaluate a trained run with other shots, steps or ranges: ``python -m experiments.evaluate run=<dir>``."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from .harness.app.application import run_application
from .harness.app.quiet import import_tensorflow


def main(config: DictConfig) -> int:
    """Evaluate as configured; return the exit code."""
    import_tensorflow()
    from .harness.config.overrides import changes
    from .harness.session.results import evaluate_again

    return evaluate_again(*changes(config, HydraConfig.get().overrides.task))


if __name__ == "__main__":
    run_application(main, "evaluate")
