"""Which cases of a test the default run tries."""

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_slow(values: Iterable[Any], *often: Any) -> list[Any]:
    """Return the values to parametrize a test with, all slow but for those that are to be tried often."""
    return [pytest.param(value, marks=[] if value in often else pytest.mark.slow) for value in values]
