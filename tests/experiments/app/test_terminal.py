"""What a command prints of an evaluation."""

import numpy as np
import rich.console

import metalearn as ml
from experiments.harness.app.terminal import evaluation_table


def test_losses_of_tasks_that_diverge_are_shown_by_their_magnitude():
    """A mean of 298169609989.0341 is a power of ten with four wrong decimals."""
    mean = np.array([2.954, 99999.9, 298169609989.0341, np.inf, np.nan])
    evaluation = ml.Evaluation(
        steps=np.arange(5),
        mean=mean,
        ci95=-mean,
        num_tasks=3,
        tasks_hash="abc",
        per_task=np.empty(0),
        median=np.zeros(5),
        diverged=np.array([0, 0, 1 / 3, 1, 1]),
    )
    table = evaluation_table(evaluation, "mse", "title")
    cells = [list(column.cells) for column in table.columns]
    assert cells[1] == ["2.9540", "99999.9000", "3.0e+11", "-", "-"]
    assert cells[2] == ["-2.9540", "-99999.9000", "-3.0e+11", "-", "-"]
    assert cells[3] == ["0.0000"] * 5
    assert cells[4] == ["0 %", "0 %", "33.3 %", "100 %", "100 %"]
    console = rich.console.Console(width=100)
    with console.capture() as printed:
        console.print(table)
    assert "3 held-out tasks (list abc)" in printed.get()
