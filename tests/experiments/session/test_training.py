"""A training as a command: what it notes of its program before it begins."""

import json

from tests.experiments.small_runs import run


def test_derivatives_that_cannot_be_checked_do_not_stop_a_run(tmp_path):
    """A run is trained although its derivatives cannot be checked because of kinks.

    Contexts of 0 have no scale: differences take steps of 1, and meet kinks everywhere with this seed.
    """
    settings = ["experiment=sinusoid/cavia", "seed=1", "training.iterations=1", "evaluation.tasks=2"]
    settings += ["evaluation.steps=1", "tracking=none", "diagnostics.interval=null"]
    assert run(tmp_path, [*settings, "training.jit_compile=false"]) == 0
    (path,) = (tmp_path / "sinusoid").glob("*/manifest.json")
    derivatives = json.loads(path.read_text())["derivatives"]
    assert not derivatives["certain"]
    assert derivatives["error"] is None
