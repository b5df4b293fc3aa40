"""The audit of second derivatives: what Keras' layers, activations and losses give on TensorFlow."""
