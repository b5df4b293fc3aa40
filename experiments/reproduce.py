"""Train a run again and compare, bit for bit: ``python -m experiments.reproduce run=<folder>``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from .harness.app.application import run_application
from .harness.app.quiet import import_tensorflow


def main(config: DictConfig) -> int:
    """Reproduce as configured; return the exit code, 1 if something differs."""
    import_tensorflow()
    from .harness.config.schema import resolve
    from .harness.session.reproduction import reproduce

    settings = resolve(config, "reproduce")
    return reproduce(Path(settings["run"]), settings["until"], settings["packages"])


if __name__ == "__main__":
    run_application(main, "reproduce")
