"""Quarter turns of images, and random affine maps of them."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from metalearn.random import by_task, sample_normal
from metalearn.types import Seed

TURNS = 4
"""The number of quarter turns of a class."""

LARGEST = 2.0
"""The number of standard deviations at which random entries are clipped, so that images stay readable."""


def distorted(images: tf.Tensor, seed: Seed, deviation: float) -> tf.Tensor:
    """Return images, each transformed by its own random affine map.

    The value at the coordinates p, which are from -1 to 1 on both axes, is that of the original image at
    ``p + deviation (A p + b)``, by bilinear interpolation. Beyond the border, pixels of the border are taken.
    The entries of A ``[2, 2]`` and b ``[2]`` are drawn from N(0, 1) and clipped at two standard deviations.
    This includes small rotations, translations, shears and changes of size.

    Args:
        images: uint8 ``[T, ..., H, W, C]`` with H and W at least 2, of known shape.
        seed: two integers.
        deviation: at least 0; with 0.1, an image of 28 x 28 pixels is shifted by about 1 pixel on each axis.

    Returns:
        float32, from 0 to 255.
    """
    height, width, channels = images.shape[-3:]
    tasks, count = images.shape[0], math.prod(images.shape[:-3])
    half = np.array([height - 1, width - 1], np.float32)[:, None] / 2.0
    axes = [np.linspace(-1.0, 1.0, size, dtype=np.float32) for size in (height, width)]
    grid = np.reshape(np.meshgrid(*axes, indexing="ij"), [2, height * width])
    normal = by_task(lambda drawn: sample_normal([drawn, count // tasks, 2, 3], seed), tasks)
    entries = deviation * tf.clip_by_value(tf.reshape(normal, [count, 2, 3]), -LARGEST, LARGEST)
    moved = tf.matmul(half * entries, np.concatenate([grid, np.ones_like(grid[:1])]))  # [count, 2, H W]
    place = tf.clip_by_value(half * (1.0 + grid) + moved, 0.0, 2.0 * half)
    corner = tf.minimum(tf.cast(place, tf.int32), np.array(2.0 * half - 1.0, np.int32))
    first = (tf.range(count) * height * width)[:, None] + corner[:, 0] * width + corner[:, 1]
    pixels = tf.reshape(images, [count * height * width, channels])
    # One gather of a pixel with its three neighbours, as the bytes of an integer, instead of four gathers.
    around = tf.stack([tf.roll(pixels, -step, 0) for step in (0, 1, width, width + 1)], axis=-1)
    found = tf.bitcast(tf.gather(tf.bitcast(around, tf.int32), first), tf.uint8)
    corners = [tf.cast(each, tf.float32) for each in tf.unstack(found, axis=-1)]
    down, right = tf.unstack((place - tf.cast(corner, tf.float32))[..., None], axis=1)
    upper, lower = (left + right * (other - left) for left, other in (corners[:2], corners[2:]))
    return tf.reshape(upper + down * (lower - upper), images.shape)


def turned(images: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    """Rotate images ``[T, ways, examples, H, W, C]`` by quarter turns, int32 ``[T, ways]``."""
    upside_down, mirrored = tf.reverse(images, [3]), tf.reverse(images, [4])
    swap = [0, 1, 2, 4, 3, 5]
    ways = [
        images,
        tf.transpose(mirrored, swap),  # like np.rot90: columns, in reverse order, become rows
        tf.reverse(upside_down, [4]),
        tf.transpose(upside_down, swap),
    ]
    turns = turns[:, :, None, None, None, None]
    turned = ways[0]
    for number in range(1, TURNS):
        turned = tf.where(turns == number, ways[number], turned)
    return turned
