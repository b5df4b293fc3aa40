"""Figures of an episode of images with the learner's predictions."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import metalearn as ml
from experiments.harness.figures import episodes
from tests.experiments.figures.drawn import png


@pytest.fixture(scope="module")
def tasks() -> ml.tasks.Source:
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 5, 1)).astype(np.uint8)
    return ml.tasks.FewShot(images, ways=3, shots=2, queries=4)


@pytest.fixture(scope="module")
def learner() -> ml.MetaLearner:
    model = keras.Sequential([keras.Input((5, 5, 1)), keras.layers.Flatten(), ml.layers.Dense(3)])
    return ml.MetaLearner(model, "cross_entropy", ml.rules.sgd(0.5), estimator="first_order")


def test_it_is_what_the_learner_answers(learner: ml.MetaLearner, tasks: ml.tasks.Source) -> None:
    meta = learner.initialize(0)
    shown = episodes.episode(learner, meta, tasks)
    assert shown is not None
    drawn = tasks.sample((2, -1), 1)
    images = drawn.query.inputs.numpy()[0].reshape(3, 4, 5, 5, 1)
    np.testing.assert_array_equal(shown.queries, images[:, :3])
    np.testing.assert_array_equal(shown.support, drawn.support.inputs.numpy()[0].reshape(3, 2, 5, 5, 1)[:, 0])
    for step in (0, 1):
        fitted = learner.adapt(meta, drawn.support, step)
        given = np.argmax(learner.predict(fitted, drawn.query.inputs)[0], -1).reshape(3, 4)
        np.testing.assert_array_equal(shown.answers[step], given[:, :3])
        assert shown.accuracies[step] == np.mean(given == np.arange(3)[:, None])


def test_it_says_which_answers_are_right() -> None:
    """Correct and wrong predictions are marked by signs, before and after adaptation."""
    images = np.zeros((2, 1, 4, 4, 3))
    answers = {0: np.array([[1], [1]]), 1: np.array([[0], [0]])}
    figure = episodes.draw(
        episodes.Episode(images[:, 0], images, answers, {0: 0.5, 1: 0.5}), "1 shots, K = 1"
    )
    assert [axes.get_title() for axes in figure.axes] == ["class 0", "class 1", "1 → 0 ✓", "1 → 0 ✗"]
    assert "50% → 50%" in figure.get_suptitle()
    assert png(figure).startswith(b"\x89PNG")


def test_other_problems_have_none(learner: ml.MetaLearner) -> None:
    regression = ml.MetaLearner(ml.models.mlp(hidden=(4,)), "mse", "sgd", estimator="first_order")
    assert episodes.episode(regression, regression.initialize(0), ml.tasks.Sinusoid()) is None
    random = np.random.default_rng(0)
    data = random.random((8, 5, 5, 1)).astype("float32"), random.random((8, 3)).astype("float32")
    floats = ml.tasks.from_arrays([data], shots=2, queries=2)
    assert episodes.episode(learner, learner.initialize(0), floats) is None
    assert episodes.episode(object(), {}, floats) is None
