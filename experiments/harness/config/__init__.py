"""Configurations: their settings, checks, and the objects that are built from them."""
