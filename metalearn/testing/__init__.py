"""Conformance checks for extensions: what this package demands of its own parts, for anybody's."""

from metalearn.testing.rules import check_rule
from metalearn.testing.sources import check_source

__all__ = ["check_rule", "check_source"]
