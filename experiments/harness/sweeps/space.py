"""Search spaces: Hydra's ``choice(a, b)``, ``range(1, 5)``, ``tag(log, interval(a, b))``."""

from __future__ import annotations

import math
from fractions import Fraction

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from ..errors import UsageError
from .setting import count

MOST_FLOATS = 2**53
"""Largest integer of a range, because integers up to it are exact in float64."""


def distribution(override: Override) -> BaseDistribution:
    """Return the distribution of an override with more than one value.

    The cast ``int`` makes integers, the tag ``log`` makes a logarithmic scale.

    Raises:
        UsageError: if there is no value between the bounds, or none that has a logarithm.
    """
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            return _between(value.start, value.end, None, "log" in value.tags)
        if isinstance(value, RangeSweep):
            return _between(*_ends(value), abs(value.step), "log" in value.tags)
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except (ValueError, TypeError, AssertionError, ArithmeticError) as error:
        raise UsageError(f"{override.input_line} gives nothing to choose from: {error}") from error


def _between(low: float | None, high: float | None, step: float | None, log: bool) -> BaseDistribution:
    if low is None or high is None:
        raise ValueError("it lacks a bound")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log, step=int(step or 1))
    if not math.isfinite(float(high) - float(low)):
        raise ValueError("its bounds are not finite numbers, or too far apart")
    return FloatDistribution(float(low), float(high), log=log, step=step)


def _ends(values: RangeSweep) -> tuple[float, float]:
    """Return the smallest and the largest number of a range, without iterating over it."""
    number, kind = count(values), int if isinstance(values.range(), range) else float
    if kind is float and number > MOST_FLOATS:
        raise ValueError("it has more numbers than float64 can distinguish")
    first, step = map(Fraction, (values.start or 0, values.step))
    low, high = sorted((first, first + (number - 1) * step))
    return kind(low), kind(high)


def suggest(trial: Trial, key: str, space: BaseDistribution) -> None:
    """Let a trial choose a value; a value that it has chosen before is kept."""
    if isinstance(space, FloatDistribution):
        trial.suggest_float(key, space.low, space.high, step=space.step, log=space.log)
    elif isinstance(space, IntDistribution):
        trial.suggest_int(key, space.low, space.high, step=space.step, log=space.log)
    elif isinstance(space, CategoricalDistribution):
        trial.suggest_categorical(key, space.choices)
