"""Quarter turns and mirror images, and random affine maps.

A map M of a position p in an image, rows and columns from -1 to 1, stands for the image whose value at p is
that of the original at M p.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import tensorflow as tf

from metalearn.random import by_task, sample_normal
from metalearn.types import Seed

TURN = ((0.0, 1.0), (-1.0, 0.0))
"""The map of a quarter turn, as by ``np.rot90``."""

MIRROR = ((1.0, 0.0), (0.0, -1.0))
"""The map of the mirror image, whose columns are reversed."""

LARGEST = 2.0
"""The number of standard deviations at which random entries are clipped, so that images stay readable."""


@functools.cache
def forms(rotations: bool, reflections: bool) -> np.ndarray:
    """Return the maps of the forms of an image, ``[F, 2, 2]``: its turns, and then their mirror images."""
    turns = [np.linalg.matrix_power(np.array(TURN), number) for number in range(4 if rotations else 1)]
    mirrored = [turn @ np.array(MIRROR) for turn in turns] if reflections else []
    return np.array(turns + mirrored, np.float32)


def formed(images: tf.Tensor, maps: np.ndarray, chosen: tf.Tensor) -> tf.Tensor:
    """Return the chosen forms of images.

    Args:
        images: ``[T, ways, examples, H, W, C]`` of known shape, square if there are turns.
        maps: the maps of the forms, ``[F, 2, 2]``.
        chosen: the number of the form of each class, int32 ``[T, ways]``.
    """
    size = images.shape[-3:-1]
    grid = np.reshape(np.meshgrid(*(np.linspace(-1.0, 1.0, each) for each in size), indexing="ij"), [2, -1])
    half = np.array(size)[:, None] / 2.0 - 0.5
    places = np.rint(half * (1.0 + maps @ grid)).astype(np.int32)  # [F, 2, H W]
    pixels = tf.constant(places[:, 0] * images.shape[-2] + places[:, 1])
    flat = tf.reshape(images, [*images.shape[:3], -1, images.shape[-1]])
    return tf.reshape(tf.gather(flat, tf.gather(pixels, chosen), axis=3, batch_dims=2), images.shape)


def distorted(images: tf.Tensor, maps: tf.Tensor, seed: Seed, deviation: float) -> tf.Tensor:
    """Return images, each transformed by its map after its own random affine map.

    The value at the position p is that of the original image at ``M (p + deviation (A p + b))``, by bilinear
    interpolation. Beyond the border, pixels of the border are taken. The entries of A ``[2, 2]`` and b
    ``[2]`` are drawn from N(0, 1) and clipped at two standard deviations. This includes small rotations,
    translations, shears and changes of size.

    Args:
        images: ``[T, ..., H, W, C]`` with H and W at least 2, of known shape.
        maps: M, with a shape that broadcasts to ``[T, ..., 2, 2]``.
        seed: two integers.
        deviation: at least 0; with 0.1, an image of 28 x 28 pixels is shifted by about 1 pixel on each axis.

    Returns:
        float32, in the range of ``images``.
    """
    *leading, height, width, channels = images.shape
    each = math.prod(leading[1:])
    normal = by_task(lambda tasks: sample_normal([tasks, each, 2, 3], seed), leading[0])
    entries = deviation * tf.clip_by_value(tf.reshape(normal, [*leading, 2, 3]), -LARGEST, LARGEST)
    whole = tf.matmul(maps, np.eye(2, 3, dtype=np.float32) + entries)
    linear, shift = whole[..., :2], whole[..., 2:]
    # TensorFlow's positions are pixels, the column before the row.
    half = np.array([[height - 1], [width - 1]], np.float32) / 2.0
    first = half * (1.0 + shift - tf.reduce_sum(linear, -1, keepdims=True))
    by_row = tf.concat([half * linear / half.T, first], -1)
    by_column = tf.gather(tf.reverse(by_row, [-2]), [1, 0, 2], axis=-1)
    found = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(tf.reshape(images, [-1, height, width, channels]), tf.float32),
        transforms=tf.pad(tf.reshape(by_column, [-1, 6]), [[0, 0], [0, 2]]),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    return tf.reshape(found, images.shape)
