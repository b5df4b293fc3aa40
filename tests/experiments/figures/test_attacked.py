"""Figures of a learner's adversarial examples."""

from __future__ import annotations

import numpy as np
import pytest

import metalearn as ml
from experiments.harness.figures import attacked
from tests.experiments.figures.drawn import png

JUDGES = ml.attacks.pgd_at([0, 0.5], steps=2)


@pytest.mark.parametrize("steps", [0, 1])
def test_they_are_the_judges(steps: int) -> None:
    """Images, predictions and accuracies equal those of attacks on the initial or adapted parameters."""
    random = np.random.default_rng(0)
    x, y = random.random((40, 9)).astype("float32"), random.integers(0, 3, 40).astype("int32")
    tasks = ml.tasks.dataset({"support": (x[:20], y[:20]), "query": (x[20:], y[20:])})
    model = ml.models.mlp(9, (), 3)
    learner = ml.MetaLearner(model, "cross_entropy", ml.rules.sgd(0.5), steps, estimator="first_order")
    meta = learner.initialize(0)
    assert attacked.attacked(learner, meta, tasks) is None
    assert attacked.attacked(ml.attacks.Robust(learner, JUDGES[1]), meta, tasks) is None
    found = attacked.attacked(ml.attacks.Robust(learner, judges=JUDGES), meta, tasks)
    assert found is not None
    support = ml.Batch(x[:20], y[:20]) if steps else None
    fitted = learner.to_keras(meta, support)
    worst = [judge(fitted, x[20:], y[20:]).numpy() for judge in JUDGES]
    np.testing.assert_array_equal(found.images[0], x[20:28].reshape(8, 3, 3, 1))
    np.testing.assert_array_equal(found.images[1], worst[1][:8].reshape(8, 3, 3, 1))
    answers = [np.argmax(fitted(each), -1) for each in worst]
    np.testing.assert_array_equal(found.answers, [each[:8] for each in answers])
    assert found.accuracies == [np.mean(each == y[20:]) for each in answers]


def test_it_says_which_answers_are_right() -> None:
    images, answers = np.zeros((2, 2, 4, 4, 1)), np.array([[0, 1], [0, 2]])
    figure = attacked.draw(attacked.Attacked(images, answers, np.array([0, 1]), [0, 0.1], [1.0, 0.5]))
    assert [axes.get_title() for axes in figure.axes] == ["0 ✓", "1 ✓", "0 ✓", "2 ✗"]
    assert figure.axes[2].get_ylabel() == "radius 0.1\n50% right"
    assert png(figure).startswith(b"\x89PNG")
