"""Compare runs: ``python -m experiments.report runs=runs/sinusoid [write=<page>]``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from .harness.app.application import run_application
from .harness.app.quiet import import_tensorflow
from .harness.errors import UsageError


def main(config: DictConfig) -> int:
    """Print, store and write the tables; return the exit code."""
    from .harness.config.schema import resolve

    settings = resolve(config, "report")
    folder = Path(settings["runs"])
    if not folder.is_dir():
        raise UsageError(f"runs={folder} is not a folder: give the one that contains the runs")
    import_tensorflow()
    from .harness.report.write import report

    return report(folder, settings["baseline"], settings["write"], settings["packages"], settings["formats"])


if __name__ == "__main__":
    run_application(main, "report")
