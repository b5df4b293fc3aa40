"""Rules by name, and objects that are not rules."""

from types import SimpleNamespace

import keras
import pytest

from metalearn import rules


def test_names_stand_for_default_settings():
    assert rules.get("sgd") == rules.sgd()
    assert rules.get("adamw") == rules.adamw()
    rule = rules.adam(0.1)
    assert rules.get(rule) is rule
    stranger = SimpleNamespace(learnable=print, init=print, update=print)
    assert rules.get(stranger) is stranger


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("sdg", "there is no rule 'sdg': did you mean 'sgd'[?] Known are .*adam, .*momentum"),
        ("learned", "there is no rule 'learned'"),
        ("zzz", "there is no rule 'zzz': Known are"),
        ("alfa", r"'alfa' needs settings: write rules.alfa\(learning_rate\)"),
        ("clip_by_value", r"'clip_by_value' needs settings: write rules.clip_by_value\(rule, limit\)"),
        (0.1, r"rule must be a metalearn rule, as rules.sgd\(\) returns, .*got 0.1"),
        (rules.sgd, "rule must be a metalearn rule, as .*got <class"),
        (SimpleNamespace(init=print, update=print), "have the methods learnable, init, update"),
        (keras.optimizers.Adam(0.1), r"Keras optimizer Adam, .*use metalearn.rules.adam\(...\)"),
        (keras.optimizers.AdamW(0.1), r"use metalearn.rules.adamw\(...\)"),
        (keras.optimizers.SGD(0.1), r"use metalearn.rules.sgd\(...\)"),
        (keras.optimizers.SGD(0.1, 0.9), r"use metalearn.rules.momentum\(...\)"),
        (keras.optimizers.SGD(0.1, 0.9, nesterov=True), r"use metalearn.rules.nesterov\(...\)"),
        (keras.optimizers.Lion(0.1), "Keras optimizer Lion, .*known rules are .*adam, .*sgd"),
    ],
)
def test_what_is_no_rule_is_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        rules.get(rule)
    with pytest.raises(ValueError, match=message):
        rules.meta_curvature(rule)
    with pytest.raises(ValueError, match=message):
        rules.clip_by_value(rule, 0.5)
