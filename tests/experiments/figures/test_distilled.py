"""Figures of distilled images next to the initial ones."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from experiments.harness.figures import distilled
from tests.experiments.figures.drawn import png


@pytest.fixture(scope="module")
def learner() -> ml.BilevelLearner:
    images = np.random.default_rng(0).random((3, 9)).astype("float32")
    return ml.problems.distillation(ml.models.mlp(9, (), 3), (images, np.arange(3)), ml.rules.sgd(0.1))


def test_they_are_the_first_and_the_learned_ones(learner: ml.BilevelLearner) -> None:
    first = learner.initialize(0)
    found = distilled.distilled(learner, {**first, "images": first["images"] * 3 - 1}, 0, {"way": first})
    assert found is not None
    assert list(found) == ["before", "way", "learned"]
    np.testing.assert_array_equal(found["before"], first["images"].numpy().reshape(3, 3, 3, 1))
    np.testing.assert_allclose(found["learned"], found["before"] * 3 - 1, rtol=1e-6)


@pytest.mark.parametrize("images", [tf.zeros([]), tf.zeros([4]), tf.zeros([2, 5]), tf.zeros([2, 4, 4, 2]), 1])
def test_other_problems_have_none(learner: ml.BilevelLearner, images: object) -> None:
    assert distilled.distilled(learner, {"images": images}, 0, {}) is None
    assert distilled.distilled(learner, {"scores": images}, 0, {}) is None
    assert distilled.distilled(learner, [images], 0, {}) is None


def test_rows_say_what_black_and_white_stand_for() -> None:
    ramp = np.linspace(-3, 5, 8, dtype="float32").reshape(2, 2, 2, 1)
    figure = distilled.draw({"before": np.zeros((2, 2, 2, 1)), "learned": ramp})
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["before\n0.0 to 0.0", "learned\n-3.0 to 5.0"]
    np.testing.assert_allclose(figure.axes[3].images[0].get_array(), (ramp[1, ..., 0] + 3) / 8, rtol=1e-6)
    assert png(figure).startswith(b"\x89PNG")
