"""Measurements: the audit of Keras, the benchmark, the check of gradients. Only commands import them."""
