"""Conformance checks for extensions: what this package demands of its own parts, for anybody's."""

from metalearn.testing.rules import check_rule

__all__ = ["check_rule"]
