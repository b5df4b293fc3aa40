"""Audit the second derivatives of Keras: ``python -m experiments.audit_keras [write=README.md]``."""

from __future__ import annotations

from omegaconf import DictConfig

from .harness.app.application import run_application
from .harness.app.quiet import import_tensorflow


def main(config: DictConfig) -> int:
    """Measure all cases, print the tables and write them where asked to; return the exit code."""
    import_tensorflow()
    from .tools.audit.report import audit

    return audit(None if config.write is None else str(config.write))


if __name__ == "__main__":
    run_application(main, "audit_keras")
