"""Runs that several test files use."""

import pytest


@pytest.fixture(scope="session")
def short(tmp_path_factory):
    """A complete short run, and one that stopped at iteration 40 with two checkpoints."""
    from experiments.harness.session import training as session
    from tests.experiments.small_runs import SHORT, folder, run, stop_at

    runs, stopped = tmp_path_factory.mktemp("short"), tmp_path_factory.mktemp("stopped")
    assert run(runs, SHORT) == 0
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(session, "bar", stop_at(40, KeyboardInterrupt))
        assert run(stopped, SHORT) == 130
    return folder(runs), folder(stopped)
