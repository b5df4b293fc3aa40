"""Operations whose second derivatives TensorFlow is known to get wrong, as a graph shows them."""

from __future__ import annotations

import tensorflow as tf

OPERATIONS = {
    "StopGradient": "StopGradient, which tf.nn.moments and keras.ops.layer_normalization contain: write the "
    "variance as tf.reduce_mean(tf.square(x - mean))",
    "FusedBatchNormV3": "FusedBatchNormV3: use metalearn.layers.exact(model)",
    "ResizeBilinear": "ResizeBilinear: multiply by constant matrices, or repeat entries (UpSampling2D)",
    "ResizeBicubic": "ResizeBicubic: multiply by constant matrices, or repeat entries (UpSampling2D)",
    "Prod": "Prod, at zeros: multiply the factors out, or keep them away from zero",
    "Cumprod": "Cumprod, at zeros: multiply the factors out, or keep them away from zero",
    "SoftmaxCrossEntropyWithLogits": "SoftmaxCrossEntropyWithLogits, with respect to its labels: use "
    "metalearn.losses.cross_entropy",
}
"""By the type of the operation: what it is, and the remedy."""


def found_in(graph: tf.Graph) -> list[str]:
    """Return what is known of the operations of a graph, with the place of the first of each kind."""
    found: dict[str, str] = {}
    for operation in graph.get_operations():
        if operation.type in OPERATIONS and operation.type not in found:
            found[operation.type] = f"{OPERATIONS[operation.type]} (at {operation.name})"
    return list(found.values())
