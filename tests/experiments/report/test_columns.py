"""The columns of varying settings, for tables with known columns."""

from itertools import product

import pandas as pd

from experiments.harness.report import columns
from experiments.harness.sweeps.collection import _settings


def rows(*configs):
    settings = [_settings({"name": "sinusoid", "label": "maml", **config}) for config in configs]
    return pd.DataFrame(settings, dtype=object)


def shown(found):
    paths = columns.varying(found)
    return dict(zip(paths, columns.names(paths, found), strict=True))


def titles(paths, found):
    return columns.titles(paths, found).to_list()


def rule(rate, **others):
    return {"rule": {"_target_": "metalearn.rules.sgd", "learning_rate": rate, **others}}


def test_what_the_label_determines_is_left_out_but_for_the_number_of_inner_steps():
    found = rows(
        {"learner": {"steps": 1}, **rule(0.01)}, {"label": "r2d2", "learner": {"steps": 0}, **rule(0.1)}
    )
    assert shown(found) == {"label": "algorithm", "learner.steps": "K"}
    assert titles(columns.varying(found), found) == ["maml, K = 1", "r2d2, K = 0"]
    alike = rows(rule(0.01), {"label": "r2d2", **rule(0.1)})
    assert shown(alike) == {"label": "algorithm"}
    assert titles(["label"], alike) == ["maml", "r2d2"]


def test_settings_that_vary_within_a_label_have_a_column():
    """Settings that vary have a column, without copies of the number of steps, and titles name them.

    A title omits settings that all rows of its label share.
    """
    found = rows(
        {"learner": {"steps": 1}, **rule(0.01)},
        {"learner": {"steps": 5}, **rule({"_target_": "metalearn.rules.learned", "steps": 5})},
        {"label": "anil", "learner": {"steps": 1}, **rule(0.01)},
    )
    assert shown(found) == {"label": "algorithm", "learner.steps": "K", "rule.learning_rate": "learning_rate"}
    paths = columns.varying(found)
    assert columns.cells(paths, found).to_numpy().tolist() == [
        ["maml", "1", "0.01"],
        ["maml", "5", "learned"],
        ["anil", "1", "0.01"],
    ]
    assert titles(paths, found) == [
        "maml, K = 1, learning_rate = 0.01",
        "maml, K = 5, learning_rate = learned",
        "anil, K = 1",
    ]


def test_a_copy_of_a_setting_has_no_column():
    """A number of steps that equals K has no column, and one that differs has a column."""
    learned = {"_target_": "metalearn.rules.learned", "per": "element"}
    found = rows(
        {"learner": {"steps": 1}, **rule(learned)},
        {"learner": {"steps": 5}, **rule({**learned, "steps": 5})},
    )
    assert shown(found) == {"learner.steps": "K"}
    found.loc[0, "rule.learning_rate.steps"] = 3
    assert shown(found) == {"learner.steps": "K", "rule.learning_rate.steps": "learning_rate.steps"}


def test_a_grid_has_its_two_settings_and_no_third_that_goes_with_one():
    found = rows(
        *(
            {"model": {"hidden": [width]}, "training": {"iterations": 10 * width}, **rule(rate)}
            for width, rate in product((4, 8), (0.1, 0.2))
        )
    )
    assert shown(found) == {"model.hidden": "hidden", "rule.learning_rate": "learning_rate"}
    assert titles(columns.varying(found), found)[0] == "hidden = [4], learning_rate = 0.1"


def test_points_drawn_at_random_keep_all_their_settings():
    """If each value occurs once, every setting has a column, although each is a function of any other."""
    found = rows(
        *({"optimizer": {"clipnorm": clip}, **rule(rate)} for clip, rate in ((1, 0.3), (2, 0.1), (3, 0.2)))
    )
    assert set(shown(found)) == {"optimizer.clipnorm", "rule.learning_rate"}


def test_what_a_named_function_brings_with_it_has_no_column():
    adam = {"rule": {"_target_": "metalearn.rules.adam", "learning_rate": 0.01, "beta_1": 0.9}}
    found = rows(rule(0.01), adam)
    assert shown(found) == {"rule": "rule"}
    assert titles(["rule"], found) == ["rule = sgd", "rule = adam"]


def test_names_are_the_shortest_that_no_other_setting_ends_with():
    found = rows({**rule(0.1), "optimizer": {"learning_rate": 1, "clipnorm": None}, "task": {"name": 3}})
    paths = ["rule.learning_rate", "optimizer.clipnorm", "task.name", "name", "learner.steps"]
    assert columns.names(paths, found) == ["rule.learning_rate", "clipnorm", "task.name", "name", "K"]


def test_nothing_that_varies_leaves_the_label():
    found = rows({"seed": 0, "paths": {"runs": "a"}}, {"seed": 1, "tracking": None})
    assert found.to_dict("records") == [{"label": "maml", "name": "sinusoid"}] * 2
    assert shown(found) == {"label": "algorithm"}
    assert titles(["label"], found) == ["maml", "maml"]


def test_values_are_text_of_a_length_that_fits():
    found = rows({"a": {"yes": True, "none": None, "list": list(range(40)), "empty": {}}})
    found["a.other"] = float("nan")
    paths = ["a.yes", "a.none", "a.empty", "a.other", "a.list"]
    expected = ["true", "null", "{}", "-", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …"]
    assert columns.cells(paths, found).loc[0].to_list() == expected


def test_no_setting_is_called_like_another_column():
    found = rows({"n": 1, "K": 2, "learner": {"steps": 1}}, {"n": 2, "K": 3, "learner": {"steps": 5}})
    assert set(shown(found).values()) >= {"n (setting)", "K"}
    assert len({*shown(found).values()}) == len(shown(found))
