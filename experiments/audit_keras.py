"""Audit the second derivatives of Keras: ``python -m experiments.audit_keras [write=<page>]``."""

from __future__ import annotations

from omegaconf import DictConfig

from .harness.app.application import run_application
from .harness.app.quiet import import_tensorflow


def main(config: DictConfig) -> int:
    """Measure all cases, print the tables and write them into ``write``; return the exit code."""
    import_tensorflow()
    from .harness.config.schema import resolve
    from .tools.audit.report import audit

    return audit(resolve(config, "audit_keras")["write"])


if __name__ == "__main__":
    run_application(main, "audit_keras")
