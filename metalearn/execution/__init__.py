"""Execution of programs over inner steps and over tasks."""
