"""Distortions of images, compared with SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from metalearn.random import sample_normal
from metalearn.sources.images.transforms import distorted, formed, forms

AS_DRAWN = np.eye(2, dtype=np.float32)

IMAGES = np.random.default_rng(1).integers(0, 256, (5, 9, 9, 1), np.uint8)


@pytest.mark.parametrize("shape", [(2, 3, 7, 5, 3), (40, 8, 8, 1)])
def test_distorted_images_are_those_of_scipy(shape):
    """Bilinear interpolation by SciPy at the same points, to 1e-3 of 255: rows from -1 to 1, then columns."""
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = distorted(tf.constant(images), AS_DRAWN, (3, 4), 0.2).numpy().reshape(-1, *shape[-3:])
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
    np.testing.assert_allclose(distorted(images, AS_DRAWN, (0, 0), 1e-6), images, rtol=0, atol=0.02)
    found = distorted(images, AS_DRAWN, (0, 0), 0.1).numpy()
    assert len({each.tobytes() for each in found}) == 6


@pytest.mark.parametrize("number", range(8))
def test_a_form_is_distorted_like_the_image_in_this_form(number):
    """Distortion after a turn is that of the turned image, to 0.003 of 255; NumPy turns and mirrors it."""
    maps = forms(rotations=True, reflections=True)
    images = tf.constant(IMAGES[None, None])
    expected = np.rot90(IMAGES, number % 4, (1, 2))
    expected = expected[:, :, ::-1] if number >= 4 else expected
    np.testing.assert_array_equal(formed(images, maps, tf.constant([[number]]))[0, 0], expected)
    found = distorted(images, maps[number], (1, 2), 0.1)
    of_formed = distorted(tf.constant(expected[None, None]), AS_DRAWN, (1, 2), 0.1)
    np.testing.assert_allclose(found, of_formed, rtol=0, atol=3e-3)


def test_eager_execution_and_graph_agree():
    """To 0.003 of 255: operations may be rounded in another order."""
    images = tf.constant(IMAGES)
    in_graph = tf.function(lambda: distorted(images, AS_DRAWN, (1, 2), 0.1))()
    np.testing.assert_allclose(in_graph, distorted(images, AS_DRAWN, (1, 2), 0.1), rtol=0, atol=3e-3)
