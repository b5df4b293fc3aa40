"""Checks of arguments. Each message names the argument, its value and the values that are allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real


def require_count(name: str, value: object, minimum: int = 1) -> None:
    """Raise ValueError unless ``value`` is an integer of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")


def require_positive(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a finite number above zero."""
    if not _is_finite(value) or value <= 0:  # type: ignore[operator]
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}")


def require_fraction(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a number in [0, 1]."""
    if not _is_finite(value) or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")


def require_finite(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a finite number."""
    if not _is_finite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")


def require_range(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a pair ``(low, high)`` of finite numbers, low <= high."""
    if not isinstance(value, Sequence) or len(value) != 2 or not all(map(_is_finite, value)):
        raise ValueError(f"{name} must be a pair of finite numbers [low, high], got {value!r}")
    low, high = value
    if low > high:
        raise ValueError(f"{name} is the wrong way round: [{low}, {high}]; write [{high}, {low}]")


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
