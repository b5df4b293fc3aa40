"""Look-up of estimators by name."""

from __future__ import annotations

import difflib
import sys

from metalearn.estimators.protocol import Estimator, require_estimator


def get(estimator: str | Estimator) -> Estimator:
    """Return the estimator of a name with its default settings; an estimator is returned unchanged.

    Args:
        estimator: an estimator, or the name of one in :mod:`metalearn.estimators` that has a default for
            every setting.

    Raises:
        ValueError: if the name is unknown, naming the nearest and all known ones; if the estimator has
            settings without a default; if the argument is not an estimator.
    """
    if not isinstance(estimator, str):
        require_estimator("estimator", estimator)
        return estimator
    package = sys.modules[__package__ or ""]
    known = [name for name in package.__all__ if name.islower() and name != "get"]
    if estimator not in known:
        near = difflib.get_close_matches(estimator, known, 1)
        suggestion = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"there is no estimator {estimator!r}: {suggestion}Known are {', '.join(known)}")
    try:
        found: Estimator = getattr(package, estimator)()
    except TypeError as error:
        raise ValueError(
            f"the estimator {estimator!r} needs settings, metalearn.estimators.{estimator}(...): {error}"
        ) from error
    return found
