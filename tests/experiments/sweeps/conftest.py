"""What tests of sweeps share."""

import pytest


@pytest.fixture
def unbuilt(monkeypatch):
    """Nothing is built of the jobs' configurations: that takes longer than a sweep of stand-ins."""
    from experiments.harness.sweeps import setting

    monkeypatch.setattr(setting, "prepare", lambda config: None)
