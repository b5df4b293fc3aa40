"""Patches of images as rows of a matrix, by one gather with constant indices, exact to every order.

A convolution is the product of the patches with the kernel. The patches are a linear map of the image; its
transpose sums the entries of the patches for every pixel. Both are gathers with indices that are known when
the graph is built, and each is the other's derivative. So derivatives of every order are gathers and
products, which TensorFlow can map over tasks with different kernels, and which take a third of the time of
its convolutions of small images.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from metalearn.checks import require_count

PADDINGS = ("valid", "same")

FORMATS = ("channels_last", "channels_first")


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The geometry of the patches of an image.

    Attributes:
        size: the height and width of the image, ``(H, W)``.
        window: the height and width of a patch, ``(P, Q)``.
        strides: the distances between patches.
        dilation: the distances between the pixels of a patch.
        padding: ``"valid"``: only patches within the image; ``"same"``: ``ceil(size / stride)`` patches, with
            zeros outside.
    """

    size: tuple[int, int]
    window: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: str = "valid"

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of patches along height and width, ``(H', W')``; below 1 if the image is too small."""
        rows, columns = (self._count(axis) for axis in range(2))
        return rows, columns

    def _count(self, axis: int) -> int:
        if self.padding == "same":
            return -(-self.size[axis] // self.strides[axis])
        return (self.size[axis] - self._reach(axis)) // self.strides[axis] + 1

    def _reach(self, axis: int) -> int:
        return (self.window[axis] - 1) * self.dilation[axis] + 1

    def along(self, axis: int) -> np.ndarray:
        """Return the coordinates of the patches' pixels along an axis, ``[count, window]``, also outside."""
        count, stride = self.counts[axis], self.strides[axis]
        missing = (count - 1) * stride + self._reach(axis) - self.size[axis]
        before = max(missing, 0) // 2 if self.padding == "same" else 0
        return np.add.outer(
            stride * np.arange(count) - before, self.dilation[axis] * np.arange(self.window[axis])
        )


@functools.lru_cache(maxsize=256)
def indices(geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel of each entry of the patches, and the entries of each pixel.

    Returns:
        ``[H' W' P Q]``, with ``H W`` for entries outside of the image; and ``[H W, M]``, filled with
        ``H' W' P Q`` for pixels with fewer than M entries.
    """
    (height, width), (rows, columns) = geometry.size, map(geometry.along, range(2))
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[
        None, :, None
    ]
    pixels = np.where(
        inside, rows[:, None, :, None] * width + columns[None, :, None], height * width
    ).reshape(-1)
    order = np.argsort(pixels, kind="stable")
    order = order[pixels[order] < height * width]
    uses = np.bincount(pixels[order], minlength=height * width)
    place = np.arange(len(order)) - np.repeat(np.cumsum(uses) - uses, uses)
    entries = np.full((height * width, max(uses.max(initial=0), 1)), len(pixels), np.int32)
    entries[pixels[order], place] = order
    return pixels.astype(np.int32), entries


def patches(images: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Return the patches of images, ``[N, H', W', P Q C]``, entries in the order of a Keras kernel's.

    Args:
        images: ``[N, H, W, C]``.
        geometry: the geometry of the patches.
    """
    pixels, entries = indices(geometry)
    channels = images.shape[-1]
    gathered, _ = _pair(pixels, entries)
    rows = gathered(tf.reshape(images, [-1, np.prod(geometry.size), channels]))
    return tf.reshape(rows, [-1, *geometry.counts, np.prod(geometry.window) * channels])


Linear = Callable[[tf.Tensor], tf.Tensor]


def _pair(pixels: np.ndarray, entries: np.ndarray) -> tuple[Linear, Linear]:
    """Return a linear map of ``[N, pixels, C]`` and its transpose, each the derivative of the other."""

    @tf.custom_gradient
    def gathered(x: tf.Tensor) -> tuple[tf.Tensor, Linear]:
        return tf.gather(_with_zero(x), pixels, axis=1), summed

    @tf.custom_gradient
    def summed(y: tf.Tensor) -> tuple[tf.Tensor, Linear]:
        each = tf.gather(_with_zero(y), entries.reshape(-1), axis=1)
        return tf.reduce_sum(tf.reshape(each, [-1, *entries.shape, y.shape[-1]]), 2), gathered

    return gathered, summed


def _with_zero(x: tf.Tensor) -> tf.Tensor:
    """Return ``[N, M, C]`` with an additional row of zeros, for pixels outside of the image."""
    return tf.pad(x, [[0, 0], [0, 1], [0, 0]])


def pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """Return sizes along height and width; raise ValueError unless they are integers of at least 1."""
    both = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(both) != 2:
        raise ValueError(f"{name} must be an integer or two of them, got {value!r}")
    for size in both:
        require_count(name, size)
    return both


def require_padding(padding: str) -> None:
    """Raise ValueError unless a padding is one of :data:`PADDINGS`."""
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}")


def order_of_axes(given: str | None) -> str:
    """Return a data format, Keras' setting for None; raise ValueError unless it is one of :data:`FORMATS`."""
    chosen = keras.config.image_data_format() if given is None else str(given).lower()
    if chosen not in FORMATS:
        raise ValueError(f"data_format must be one of {', '.join(FORMATS)}, got {given!r}")
    return chosen
