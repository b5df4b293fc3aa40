"""Tutorials: scripts in cells (``# %%``), which VS Code, and Jupyter by jupytext, open as notebooks."""
