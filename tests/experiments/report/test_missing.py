"""Runs without results: those that other runs imply, and those that stopped."""

from itertools import product

import pytest

from experiments.harness.report.missing import belonging, listing
from experiments.harness.report.table import tables
from tests.experiments.report.made_runs import collected, make_group, stopped


def group(label="maml", seeds=2, steps=1, rate=0.1):
    rule = {"learning_rate": rate}
    return make_group(label, [[4, 2]] * seeds, learner={"steps": steps}, rule=rule)


def lines(*groups):
    """Return the lines on missing runs of the table of groups."""
    found = collected(*groups)
    (table,) = tables(found, "none")
    return listing(table, found)


def test_seeds_that_others_have_are_missing():
    found = lines(group(seeds=3), group("anil", seeds=1))
    assert found == ["anil, seed 1: missing", "anil, seed 2: missing"]


def test_a_run_that_stopped_is_not_missing_too():
    anil = group("anil", seeds=1)
    assert lines(group(), anil, stopped(anil, 1, "failed")) == ["anil, seed 1: failed"]
    expected = ["anil, seed 5: failed", "anil, seed 1: missing"]
    assert lines(group(), anil, stopped(anil, 5, "failed")) == expected


def test_a_run_is_named_by_what_sets_it_apart_from_those_with_numbers():
    one = group()
    other = stopped(one, 0, "running", **{"learner.steps": 9})
    assert lines(one, other) == ["maml, K = 9, seed 0: running"]


def test_runs_belong_to_the_table_of_their_task():
    damaged = [({"reason": "damaged"}, {}, None)]
    elsewhere = stopped(group(), 0, "failed", **{"task.shots": 5})
    found = collected(group(seeds=1), stopped(group("other"), 0, "failed"), elsewhere, damaged)
    (table,) = tables(found, "none")
    assert belonging(table, found)["algorithm"].to_list() == ["other"]


@pytest.mark.parametrize(
    ("steps", "rates", "missing"),
    [
        ((1, 5), (0.1, 1.0, 0.02), "learning_rate = 0.02, K = 5: missing"),
        ((1, 10, 5), (0.1, 0.02), "K = 5, learning_rate = 0.02: missing"),
    ],
)
def test_cells_without_a_run_are_missing_unless_one_was_tried(steps, rates, missing):
    groups = [group(steps=step, rate=rate) for step, rate in list(product(steps, rates))[:-1]]
    assert lines(*groups) == [missing]
    tried = stopped(group(steps=5, rate=0.02), 0, "failed")
    assert lines(*groups, tried) == ["maml, K = 5, learning_rate = 0.02, seed 0: failed"]
