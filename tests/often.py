"""Which cases of a test the default run tries."""

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_slow(values: Iterable[Any], *often: Any) -> list[Any]:
    """Return the values of a parametrized test, all slow except those that the default run tries."""
    return [pytest.param(value, marks=[] if value in often else pytest.mark.slow) for value in values]
