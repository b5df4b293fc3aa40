"""Which parameters are adapted: the patterns, and that nothing is lost between chosen and rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalearn.adapted import partition, select

KEYS = ["context/context", "hidden_0/kernel", "hidden_0/bias", "norm/gamma", "output/kernel", "output/bias"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("all", KEYS),
        ("head", KEYS[4:]),
        ("body", KEYS[1:4]),
        ("context", KEYS[:1]),
        ("head|context", [KEYS[0], *KEYS[4:]]),
        ("*/bias", [KEYS[2], KEYS[5]]),
        ("hidden_?/*", KEYS[1:3]),
        ("norm/*|hidden_0/kernel", [KEYS[1], KEYS[3]]),
    ],
)
def test_patterns(pattern, expected):
    assert select(pattern, KEYS) == expected


@pytest.mark.parametrize("pattern", ["", "tail", "head|tail", "Hidden_0/*", "head,body"])
def test_what_matches_nothing_is_named(pattern):
    with pytest.raises(ValueError, match="matches none of the parameters"):
        select(pattern, KEYS)


def test_one_layer_has_no_body():
    with pytest.raises(ValueError, match="'body' matches none"):
        select("body", KEYS[4:])


@given(st.sets(st.sampled_from(KEYS)))
def test_partition_and_recombine(chosen):
    whole = {key: object() for key in KEYS}
    picked, rest = partition(whole, chosen)
    assert set(picked) == chosen
    assert not set(picked) & set(rest)
    assert {**rest, **picked} == whole
