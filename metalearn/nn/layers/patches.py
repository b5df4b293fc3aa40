"""The patches of an image: which pixels they consist of, as constants of the graph."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import keras
import numpy as np

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
