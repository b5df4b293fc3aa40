"""Intervals: quantiles against tables, half widths against arithmetic."""

import math

import numpy as np
import pytest

from experiments.harness.report.statistics import Value, estimate, quantile


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [
        (1, 12.7062),
        (2, 4.3027),
        (3, 3.1824),
        (4, 2.7764),
        (5, 2.5706),
        (9, 2.2622),
        (10, 2.2281),
        (29, 2.0452),
        (30, 2.0423),
        (120, 1.9799),
    ],
)
def test_quantiles_are_those_of_the_tables(freedom, expected):
    """Table 12 of Biometrika Tables for Statisticians (Pearson and Hartley 1966), to four places."""
    assert quantile(freedom) == pytest.approx(expected, abs=5e-5)


def test_one_degree_is_the_tangent_and_many_are_the_normal_distribution():
    """The latter to first order in the reciprocal of the degrees."""
    assert quantile(1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-12)
    assert quantile(10_000) == pytest.approx(1.959964 + 1.959964 * (1 + 1.959964**2) / 4e4, abs=1e-6)


def test_half_widths_are_quantile_times_standard_error():
    """2, 4 and 6 have the standard deviation 2."""
    value = estimate(np.array([2, 4, 6], np.float32))
    assert value == pytest.approx((4.0, 4.302653 * 2 / math.sqrt(3)), rel=1e-6)
    assert (value.low, value.high) == pytest.approx((4 - value.half, 4 + value.half))


def test_one_number_has_no_interval():
    value = estimate(np.array([3.0]))
    assert value.mean == 3
    assert (value.low, value.high) == (-math.inf, math.inf)
    assert str(value) == "3.000"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Value(0.1, 0.25), "0.100 ± 0.250"),
        (Value(0.05, 0.0), "0.0500 ± 0.0000"),
        (Value(-0.05, 1), "-0.0500 ± 1.0000"),
    ],
)
def test_small_numbers_get_a_digit_more(value, text):
    assert str(value) == text
