"""Train a run again and compare, bit for bit: ``python -m experiments.reproduce run=<folder>``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from .harness.app.application import run_application
from .harness.app.quiet import import_tensorflow


def main(config: DictConfig) -> int:
    """Reproduce as configured; return the exit code, 1 if something differs."""
    import_tensorflow()
    from .harness.config import kinds, packages, schema
    from .harness.session.reproduction import reproduce

    until = schema.take(kinds.optional(kinds.COUNT), "until", config.until)
    run = Path(schema.take(kinds.PATH, "run", config.run))
    return reproduce(run, until, packages.trusted(config.packages))


if __name__ == "__main__":
    run_application(main, "reproduce")
