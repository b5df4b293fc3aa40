"""Bilevel problems: what is learned by what."""
