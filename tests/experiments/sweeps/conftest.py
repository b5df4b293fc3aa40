"""Common fixtures of tests of sweeps."""

import pytest


@pytest.fixture
def unbuilt(monkeypatch):
    """Skip the construction of the jobs' objects, which takes longer than a sweep with a mock training."""
    from experiments.harness.sweeps import setting

    monkeypatch.setattr(setting, "prepare", lambda config: None)
