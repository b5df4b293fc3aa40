"""Experiments: everything that knows of configurations, disks and Weights & Biases."""
