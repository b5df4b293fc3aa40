"""Conformance checks for extensions; the package uses the same checks for its own parts."""

from metalearn.testing.environments import check_environment
from metalearn.testing.estimators import check_estimator
from metalearn.testing.gradients import check_gradients
from metalearn.testing.problems import check_problem
from metalearn.testing.rules import check_rule
from metalearn.testing.sources import check_source

__all__ = [
    "check_environment",
    "check_estimator",
    "check_gradients",
    "check_problem",
    "check_rule",
    "check_source",
]
