"""Keras models with named layers, so that their parameters have readable keys."""

from metalearn.nn.models.context_conv4 import context_conv4
from metalearn.nn.models.context_mlp import context_mlp
from metalearn.nn.models.conv4 import conv4
from metalearn.nn.models.mlp import mlp
from metalearn.nn.models.resnet12 import resnet12

__all__ = ["context_conv4", "context_mlp", "conv4", "mlp", "resnet12"]
