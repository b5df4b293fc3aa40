"""Measure speed and memory, as ratios within one run: ``python -m experiments.benchmark``."""

from __future__ import annotations

from omegaconf import DictConfig

from .harness.app.application import run_application
from .harness.app.quiet import import_tensorflow


def main(config: DictConfig) -> int:
    """Measure as configured; return 1 if a program of this package failed."""
    from .harness.config.schema import resolve

    import_tensorflow()
    from .tools.benchmark import report

    return report.benchmark(resolve(config, "benchmark"))


if __name__ == "__main__":
    run_application(main, "benchmark")
