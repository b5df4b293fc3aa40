"""Meta-train, evaluate, draw figures: ``python -m experiments.train``."""

from __future__ import annotations

from omegaconf import DictConfig

from experiments.harness.app.application import run_application
from experiments.harness.app.quiet import import_tensorflow


def main(config: DictConfig) -> int:
    """Train as configured; return the exit code."""
    import_tensorflow()
    from experiments.harness.config.schema import resolve
    from experiments.harness.session.training import train
    from experiments.harness.sweeps.membership import join, own_job, reporter

    resolved, job = resolve(config), own_job()
    return train(join(resolved, *job), reporter(*job)) if job else train(resolved)


if __name__ == "__main__":
    run_application(main, "train")
