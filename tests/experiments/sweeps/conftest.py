"""Common fixtures of tests of sweeps."""

import pytest


@pytest.fixture
def unbuilt(monkeypatch):
    """The jobs' objects are not built, which would take longer than a sweep with a mock training."""
    from experiments.harness.sweeps import setting

    monkeypatch.setattr(setting, "prepare", lambda config: None)
