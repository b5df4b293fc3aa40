"""Checks of arguments name the argument and the value."""

import math

import numpy as np
import pytest

from metalearn.checks import require_count, require_finite, require_positive, require_range


@pytest.mark.parametrize("value", [1, 7, np.int64(3)])
def test_counts_are_accepted(value):
    """Integers of Python and of NumPy are accepted."""
    assert require_count("shots", value) is None


@pytest.mark.parametrize("value", [0, -1, True, 2.0, 2.5, "3", None, math.nan])
def test_other_counts_are_refused(value):
    """Anything but an integer of at least 1 is rejected, including booleans."""
    with pytest.raises(ValueError, match=r"shots must be an integer of at least 1") as error:
        require_count("shots", value)
    assert repr(value) in str(error.value)


def test_count_has_a_minimum():
    """The minimum is accepted, and one below it is rejected."""
    assert require_count("steps", 0, minimum=0) is None
    with pytest.raises(ValueError, match="steps must be an integer of at least 0, got -1"):
        require_count("steps", -1, minimum=0)


@pytest.mark.parametrize("value", [1, 1e-30, np.float32(0.5)])
def test_positive_numbers_are_accepted(value):
    """Numbers above zero are accepted."""
    assert require_positive("rate", value) is None


@pytest.mark.parametrize("value", [0, -0.1, math.nan, math.inf, -math.inf, True, "0.1", None])
def test_other_numbers_are_refused(value):
    """Zero, negative and non-finite numbers are rejected, and so are other types."""
    with pytest.raises(ValueError, match="rate must be a finite number above 0") as error:
        require_positive("rate", value)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("value", [(0, 1), [-5.0, 5.0], (2, 2)])
def test_ranges_are_accepted(value):
    """Ordered pairs are accepted, also with equal ends."""
    assert require_range("phase", value) is None


@pytest.mark.parametrize("value", [(1,), (0, 1, 2), 3, None, "ab", (0, math.nan), (-math.inf, 0), (True, 2)])
def test_other_ranges_are_refused(value):
    """Anything but a pair of finite numbers is rejected."""
    with pytest.raises(ValueError, match="phase must be a pair of finite numbers") as error:
        require_range("phase", value)
    assert repr(value) in str(error.value)


def test_reversed_range_is_refused_with_the_remedy():
    """The message shows the range in the right order."""
    with pytest.raises(ValueError, match=r"phase is the wrong way round: \[2, 1\]; write \[1, 2\]"):
        require_range("phase", (2, 1))


def test_finite_numbers_pass_and_others_are_refused():
    """Finite numbers of any sign are accepted; NaN, infinity, booleans and text are rejected."""
    for value in (-1.5, 0, 3, np.float32(2.5)):
        assert require_finite("mean", value) is None
    for value in (math.nan, -math.inf, True, "1", None):
        with pytest.raises(ValueError, match="mean must be a finite number") as error:
            require_finite("mean", value)
        assert repr(value) in str(error.value)
