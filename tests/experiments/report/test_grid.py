"""Grids of two settings: which tables are grids, and the contents of their cells."""

from itertools import product

import pytest

from experiments.harness.report.grid import empty, grid
from tests.experiments.report import made_runs
from tests.experiments.report.made_runs import make_group


def table_of(*settings):
    """Return the table of some labels, steps and rates."""
    return made_runs.table_of(
        *(
            make_group(label, [[4, 2]], learner={"steps": steps}, rule={"learning_rate": rate})
            for label, steps, rate in settings
        )
    )


POINTS = [("maml", *point) for point in product((1, 5), (0.1, 1.0, 0.02))]


def test_two_settings_make_a_grid_with_values_in_their_order():
    table = table_of(*POINTS)
    found = grid(table)
    assert (found.columns.name, found.index.name) == ("learning_rate", "K")
    assert ([*found.columns], [*found.index]) == (["0.02", "0.1", "1.0"], ["1", "5"])
    assert table.cells.loc[found.loc["5", "0.1"]].to_dict() == {"K": "5", "learning_rate": "0.1"}
    assert not empty(found)


def test_cells_without_a_run_are_empty():
    assert empty(grid(table_of(*POINTS[:-1]))) == [{"K": "5", "learning_rate": "0.02"}]


def test_labels_are_one_of_the_two():
    points = [(label, steps, 1.0) for label, steps in product("ab", (1, 5))]
    found = grid(table_of(*points))
    assert (found.columns.name, found.index.name) == ("algorithm", "K")
    assert grid(table_of(*points, ("a", 1, 7.0))) is None


@pytest.mark.parametrize(
    "points",
    [
        [("maml", steps, steps / 10) for steps in (1, 2, 3)],
        [
            *(("maml", steps, 0.1) for steps in range(1, 6)),
            *(("maml", 1, rate) for rate in (0.2, 0.3, 0.4, 0.5)),
        ],
        POINTS[:3],
        POINTS[:1],
    ],
    ids=["diagonal", "cross", "line", "point"],
)
def test_what_is_no_grid_is_taken_for_none(points):
    assert grid(table_of(*points)) is None
