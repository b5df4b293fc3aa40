"""The table: losses over seeds, the best of them, differences."""

import numpy as np
import pytest

from experiments.harness.report import render
from experiments.harness.report.runs import comparable
from experiments.harness.report.statistics import Value
from experiments.harness.report.table import baseline_of, tabulate
from tests.experiments.report.made_runs import make_group

GOOD = make_group("good", [[4, 1.0], [4, 1.1]])
FAR = make_group("far", [[4, 5.0], [4, 5.1]])


def best(*groups):
    return [row.best for row in tabulate(groups, "maml").rows]


def test_the_best_is_marked_where_its_interval_is_below_all_others():
    """Half widths are 12.7062 * 0.05 = 0.635: 1.05 + 0.635 is below 5.05 - 0.635, not below 2 - 0.635."""
    assert best(GOOD, FAR) == [[False, True], [False, False]]
    near = make_group("near", [[4, 1.95], [4, 2.05]])
    assert best(GOOD, FAR, near) == [[False, False]] * 3


def test_nothing_is_marked_beside_a_single_seed_or_alone():
    assert best(GOOD, make_group("single", [[4, 9.0]])) == [[False, False]] * 2
    assert best(make_group("single", [[4, 0.1]]), FAR) == [[False, False]] * 2
    assert best(GOOD) == [[False, False]]


def test_what_diverges_is_worse_than_all():
    table = tabulate([GOOD, make_group("wild", [[4, 1.0], [4, np.inf]])], "good")
    assert [row.best for row in table.rows] == [[False, True], [False, False]]
    assert [row.losses[1] for row in table.rows] == [pytest.approx((1.05, 0.635310), rel=1e-5), None]
    assert [row.difference for row in table.rows] == [None, None]
    assert render.cells(table, str, str)[1][2:4] == ["4.000 ± 0.000", "diverged at 1"]


def test_what_was_evaluated_after_fewer_steps_stands_beside_the_others():
    """An oracle has no inner steps: where it has no number there is a dash, and nobody is best alone."""
    oracle = make_group("oracle", [[0.5], [0.6]])
    (groups,) = comparable([FAR, oracle])
    table = tabulate(groups, "far")
    assert table.steps == [0, 1]
    assert [row.title for row in table.rows] == ["oracle", "far"]
    assert [row.best for row in table.rows] == [[True, False], [False, False]]
    assert render.cells(table, str, str)[0][2:4] == ["0.550 ± 0.635", "-"]
    assert [row.difference for row in table.rows] == [None, None]


def test_the_last_step_always_has_a_column():
    losses = [np.linspace(4, 1, 13)]
    table = tabulate([make_group("maml", losses)], "maml")
    assert table.steps == [0, 1, 5, 10, 12]
    assert [loss.mean for loss in table.rows[0].losses] == [4, 3.75, 2.75, 1.5, 1]


def test_the_baseline_is_the_one_of_the_fewest_steps():
    five, one = (make_group("maml", [[4, 3]], learner={"steps": steps}) for steps in (5, 1))
    assert baseline_of([five, one, GOOD], "maml") is one
    table = tabulate([five, one, GOOD], "maml")
    assert table.baseline == "maml, K = 1"
    assert "less maml, K = 1, after 1" in render.heading(table)
    assert tabulate([GOOD, FAR], "maml").baseline is None
    assert not [name for name in render.heading(tabulate([GOOD, FAR], "maml")) if "less" in name]


def test_differences_are_over_tasks_of_means_over_seeds():
    """Tasks lie 0.5 below and above in both, so that all differences are the same."""
    table = tabulate([GOOD, FAR], "good")
    assert table.rows[1].difference == pytest.approx(Value(4.0, 0.0), abs=1e-9)
