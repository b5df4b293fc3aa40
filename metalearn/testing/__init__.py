"""Conformance checks for extensions: what our own tests hold our own parts to."""

from metalearn.testing.sources import check_source

__all__ = ["check_source"]
