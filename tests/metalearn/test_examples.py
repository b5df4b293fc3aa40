"""The introduction's examples give the values that they show."""

import doctest

from metalearn import examples


def test_examples():
    options = doctest.ELLIPSIS
    results = doctest.testmod(examples, optionflags=options)
    assert results.failed == 0
    assert results.attempted >= 25
