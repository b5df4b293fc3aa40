"""Meta-train, evaluate, draw figures: ``python -m experiments.train``."""

from __future__ import annotations

from omegaconf import DictConfig

from .harness.app.application import run_application
from .harness.app.quiet import import_tensorflow


def main(config: DictConfig) -> int:
    """Train as configured; return the exit code."""
    import_tensorflow()
    from .harness.config.schema import resolve
    from .harness.session.training import train
    from .harness.sweeps.membership import join, own_job, reporter

    resolved, job = resolve(config), own_job()
    return train(join(resolved, *job), reporter(*job)) if job else train(resolved)


if __name__ == "__main__":
    run_application(main, "train")
