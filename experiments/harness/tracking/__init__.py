"""Trackers that a run is logged to: Weights & Biases, TensorBoard, or none."""
