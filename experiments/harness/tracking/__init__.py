"""What a run is told to while it goes on: Weights & Biases, TensorBoard, or nobody."""
