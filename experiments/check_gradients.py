"""Audit the meta-gradients of a configuration: ``python -m experiments.check_gradients algorithm=imaml``."""

from __future__ import annotations

from omegaconf import DictConfig

from .harness.app.application import run_application
from .harness.app.quiet import import_tensorflow


def main(config: DictConfig) -> int:
    """Compare all estimators on the configured learner; return 1 if one that is declared exact is not."""
    import_tensorflow()
    from .harness import console
    from .harness.config.schema import resolve
    from .tools import gradients

    audit = gradients.audit(resolve(config))
    console.console.print(gradients.table(audit))
    for name, reason in audit.refused.items():
        console.say(f"{name} does not apply: {reason}")
    return 0 if audit.passed else 1


if __name__ == "__main__":
    run_application(main, "check_gradients")
