"""Runs without numbers: those that others imply, and those that stopped."""

from itertools import product
from pathlib import Path

from experiments.harness.report.missing import belonging, listing
from experiments.harness.report.runs import Unused
from experiments.harness.report.table import tabulate
from tests.experiments.report.made_runs import make_group


def group(label="maml", seeds=2, steps=1, rate=0.1):
    rule = {"learning_rate": rate}
    return make_group(label, [[4, 2]] * seeds, learner={"steps": steps}, rule=rule)


def unused(like, seed, reason, **changes):
    return Unused(Path("run"), {**like.first.config, **changes, "seed": seed}, reason)


def table_of(*groups):
    return tabulate(groups, "none")


def test_seeds_that_others_have_are_missing():
    table = table_of(group(seeds=3), group("anil", seeds=1))
    assert listing(table, []) == ["anil, seed 1: missing", "anil, seed 2: missing"]


def test_a_run_that_stopped_is_not_missing_too():
    anil = group("anil", seeds=1)
    table = table_of(group(), anil)
    assert listing(table, [unused(anil, 1, "failed")]) == ["anil, seed 1: failed"]
    assert listing(table, [unused(anil, 5, "failed")]) == ["anil, seed 5: failed", "anil, seed 1: missing"]


def test_a_run_is_named_by_what_sets_it_apart_from_those_with_numbers():
    one = group()
    stopped = unused(one, 0, "running", learner={"steps": 9})
    assert listing(table_of(one), [stopped]) == ["maml, K = 9, seed 0: running"]


def test_runs_belong_to_the_table_of_their_task():
    table = table_of(group())
    same = unused(group("other"), 0, "failed")
    elsewhere = unused(group(), 0, "failed", task={"shots": 5})
    assert belonging(table, [same, elsewhere, Unused(Path("run"), {}, "damaged")]) == [same]


def test_cells_without_a_run_are_missing_unless_one_was_tried():
    points = list(product((1, 5), (0.1, 1.0, 0.02)))
    table = table_of(*(group(steps=steps, rate=rate) for steps, rate in points[:-1]))
    assert listing(table, []) == ["learning_rate = 0.02, K = 5: missing"]
    tried = unused(group(steps=5, rate=0.02), 0, "failed")
    assert listing(table, [tried]) == ["maml, K = 5, learning_rate = 0.02, seed 0: failed"]
