"""Experiments: the commands, with configurations, files of runs and Weights & Biases."""
