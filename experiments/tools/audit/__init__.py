"""The audit of the second derivatives of Keras' layers, activations and losses on TensorFlow."""
