"""What a search may choose from: Hydra's ``choice(a, b)``, ``range(1, 5)``, ``tag(log, interval(a, b))``."""

from __future__ import annotations

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from ..errors import UsageError


def distribution(override: Override) -> BaseDistribution:
    """Return the distribution of an override that gives more than one value.

    The cast ``int`` makes integers, the tag ``log`` makes a logarithmic scale.

    Raises:
        UsageError: if there is no value between the bounds, or none with a logarithm.
    """
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            return _between(value.start, value.end, None, "log" in value.tags)
        if isinstance(value, RangeSweep):
            numbers = [_number(word) for word in override.sweep_string_iterator()]
            return _between(min(numbers), max(numbers), abs(value.step), "log" in value.tags)
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except (ValueError, TypeError, AssertionError) as error:
        raise UsageError(f"{override.input_line} is nothing to choose from: {error}") from error


def _between(low: float | None, high: float | None, step: float | None, log: bool) -> BaseDistribution:
    if low is None or high is None:
        raise ValueError("it lacks a bound")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log, step=int(step or 1))
    return FloatDistribution(float(low), float(high), log=log, step=step)


def _number(word: str) -> int | float:
    return int(word) if word.lstrip("-").isdigit() else float(word)


def suggest(trial: Trial, key: str, space: BaseDistribution) -> None:
    """Have a trial choose a value; one that it has chosen before stays."""
    if isinstance(space, FloatDistribution):
        trial.suggest_float(key, space.low, space.high, step=space.step, log=space.log)
    elif isinstance(space, IntDistribution):
        trial.suggest_int(key, space.low, space.high, step=space.step, log=space.log)
    elif isinstance(space, CategoricalDistribution):
        trial.suggest_categorical(key, space.choices)
