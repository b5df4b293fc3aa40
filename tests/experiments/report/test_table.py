"""The table: losses over seeds, the best of them, differences."""

import numpy as np
import pytest

from experiments.harness.report import render
from experiments.harness.report.table import interval
from tests.experiments.report.made_runs import make_group, table_of

GOOD = make_group("good", [[4, 1.0], [4, 1.1]])
FAR = make_group("far", [[4, 5.0], [4, 5.1]])


def best(*groups):
    return table_of(*groups).best.to_numpy().tolist()


def cells(table, row):
    return render.texts(table, str, str).iloc[row].to_list()


@pytest.mark.parametrize(
    ("count", "expected"),
    [(2, 12.7062), (3, 4.3027), (4, 3.1824), (5, 2.7764), (10, 2.2622), (30, 2.0452), (121, 1.9799)],
)
def test_intervals_are_quantiles_of_student_s_t_times_standard_errors(count, expected):
    """Half widths equal table 12 of Biometrika Tables (Pearson and Hartley 1966), to four places."""
    assert interval(count, 3 * np.sqrt(count)) == pytest.approx(3 * expected, abs=2e-4)


def test_one_number_has_no_interval():
    assert np.isnan(interval(1, 2.0))


def test_the_best_is_marked_where_its_interval_is_below_all_others():
    """The best mean is marked only if its interval is below all others.

    Half widths are 12.7062 * 0.05 = 0.635: 1.05 + 0.635 is below 5.05 - 0.635, not below 2 - 0.635.
    """
    assert best(GOOD, FAR) == [[False, True], [False, False]]
    near = make_group("near", [[4, 1.95], [4, 2.05]])
    assert best(GOOD, FAR, near) == [[False, False]] * 3


def test_nothing_is_marked_beside_a_single_seed_or_alone():
    assert best(GOOD, make_group("single", [[4, 9.0]])) == [[False, False]] * 2
    assert best(make_group("single", [[4, 0.1]]), FAR) == [[False, False]] * 2
    assert best(GOOD) == [[False, False]]


def test_what_diverges_is_worse_than_all():
    table = table_of(GOOD, make_group("wild", [[4, 1.0], [4, np.inf]]), baseline="good")
    assert table.best.to_numpy().tolist() == [[False, True], [False, False]]
    for name, expected in {"mean": 1.05, "half": 0.635310}.items():
        np.testing.assert_allclose(table.numbers[name][1], [expected, np.nan], rtol=1e-5)
    assert table.differences.isna().all(axis=None)
    assert cells(table, 1)[2:6] == ["4.000 ± 0.000", "diverged at 1", "inf", "50 %"]


def test_what_was_evaluated_after_fewer_steps_stands_beside_the_others():
    """Rows with fewer inner steps have dashes in later columns, and a single number is not the best."""
    oracle = make_group("oracle", [[0.5], [0.6]])
    table = table_of(FAR, oracle, baseline="far")
    assert table.steps == [0, 1]
    assert table.rows["title"].to_list() == ["oracle", "far"]
    assert table.best.to_numpy().tolist() == [[True, False], [False, False]]
    assert cells(table, 0)[2:6] == ["0.550 ± 0.635", "-", "-", "-"]
    assert table.differences.isna().all(axis=None)


def test_the_last_step_always_has_a_column():
    losses = [np.linspace(4, 1, 13)]
    table = table_of(make_group("maml", losses))
    assert table.steps == [0, 1, 5, 10, 12]
    assert table.numbers["mean"][table.steps].iloc[0].to_list() == [4, 3.75, 2.75, 1.5, 1]


def test_the_baseline_is_the_one_of_the_fewest_steps():
    five, one = (make_group("maml", [[4, 3]], learner={"steps": steps}) for steps in (5, 1))
    table = table_of(five, one, GOOD, baseline="maml")
    assert table.baseline == "maml, K = 1"
    assert "minus maml, K = 1, after 1, ± over tasks" in render.texts(table, str, str)
    other = table_of(GOOD, FAR, baseline="maml")
    assert other.baseline is None
    assert not [name for name in render.texts(other, str, str) if "less" in name]


def test_differences_are_over_tasks_and_over_the_seeds_that_both_have():
    """Differences equal those by hand, over tasks and over the two common seeds.

    Losses of all tasks are 0.5 below or above, so that their differences are equal; those of seeds are 4 and
    6. The baseline lacks the third seed.
    """
    far = make_group("far", [[4, 5.0], [4, 7.1], [4, 12.0]])
    table = table_of(GOOD, far, baseline="good")
    expected = [24.1 / 3 - 1.05, 0, 5, 12.7062]
    np.testing.assert_allclose(table.differences.iloc[1], expected, rtol=1e-5, atol=1e-9)


def test_the_best_comes_first_and_what_diverges_last():
    """Rows are ordered by loss; diverged ones are last, those that diverge later first, with medians."""
    losses = [4, 3], [4, 1], [1, 99], [np.inf, 1]
    table = table_of(*(make_group(str(index), [each]) for index, each in enumerate(losses)))
    assert table.rows["label"].to_list() == ["1", "0", "2", "3"]
    assert table.numbers["median"][1].to_list() == [1, 3, 99, 1]
    assert table.numbers["diverged"][1].to_list() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("losses", "text"),
    [
        ([0.1 - 0.0225, 0.1 + 0.0225], "0.100 ± 0.286"),
        ([0.05, 0.05], "0.0500 ± 0.0000"),
        ([3.0], "3.000"),
    ],
)
def test_small_numbers_get_a_digit_more(losses, text):
    assert cells(table_of(make_group("maml", [[1.0, loss] for loss in losses])), 0)[3] == text
