"""Distortions of images, compared with SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from metalearn.random import sample_normal
from metalearn.sources.images.transforms import distorted

IMAGES = np.random.default_rng(1).integers(0, 256, (5, 9, 9, 1), np.uint8)


@pytest.mark.parametrize("shape", [(2, 3, 7, 5, 3), (40, 8, 8, 1)])
def test_distorted_images_are_those_of_scipy(shape):
    """Bilinear interpolation by SciPy at the same points, to 1e-3 of 255: rows from -1 to 1, then columns."""
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = distorted(tf.constant(images), (3, 4), 0.2).numpy().reshape(-1, *shape[-3:])
    height, width = shape[-3:-1]
    half = np.array([height - 1, width - 1])[:, None, None] / 2
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij"))
    entries = np.clip(sample_normal([len(found), 2, 3], (3, 4)), -2, 2) * 0.2
    for image, drawn, distortion in zip(images.reshape(found.shape), found, entries, strict=True):
        moved = grid + np.einsum("ij,jhw->ihw", distortion[:, :2], grid) + distortion[:, 2, None, None]
        for channel in range(shape[-1]):
            expected = ndimage.map_coordinates(
                image[..., channel].astype(float), (moved + 1) * half, order=1, mode="nearest"
            )
            np.testing.assert_allclose(drawn[..., channel], expected, rtol=0, atol=1e-3)


def test_a_small_distortion_changes_little_and_each_image_differently():
    """With a standard deviation of 1e-6, images are equal to 0.02 of 255; with 0.1, all copies differ."""
    images = tf.tile(IMAGES[:1], [6, 1, 1, 1])
    np.testing.assert_allclose(distorted(images, (0, 0), 1e-6), images, rtol=0, atol=0.02)
    found = distorted(images, (0, 0), 0.1).numpy()
    assert len({each.tobytes() for each in found}) == 6


def test_eager_graph_and_xla_agree():
    """To 0.003 of 255: operations are rounded in another order."""
    images = tf.constant(IMAGES)
    eager = distorted(images, (1, 2), 0.1)
    for compiled in (False, True):
        found = tf.function(lambda: distorted(images, (1, 2), 0.1), jit_compile=compiled)()
        np.testing.assert_allclose(found, eager, rtol=0, atol=3e-3)
