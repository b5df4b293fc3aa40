"""Figures of a generator's points next to the data."""

from __future__ import annotations

import numpy as np

import metalearn as ml
from experiments.harness.figures import generated
from tests.experiments.figures.drawn import png

TASKS = ml.tasks.Ring(examples=5, noise_size=3)


def test_they_are_the_generators() -> None:
    """Points equal those of a linear generator in NumPy, on noise that does not occur in training."""
    generator = ml.models.mlp(3, (), 2)
    meta = ml.functional.initialize(generator, 1)
    found = generated.generated(generator, meta, TASKS)
    assert found is not None
    query = TASKS.sample((2, -1), generated.BATCHES).query
    made = query["noise"].numpy().reshape(-1, 3) @ meta["output/kernel"].numpy() + meta["output/bias"].numpy()
    np.testing.assert_allclose(found["generated"], made, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["data"], query["real"].numpy().reshape(-1, 2))


def test_other_problems_have_none() -> None:
    generator, wide = ml.models.mlp(3, (), 2), ml.models.mlp(3, (), 4)
    assert generated.generated(None, {}, TASKS) is None
    assert generated.generated(generator, {"images": 0}, TASKS) is None
    assert generated.generated(wide, ml.functional.initialize(wide, 0), TASKS) is None
    sinusoids = ml.tasks.Sinusoid()
    assert generated.generated(generator, ml.functional.initialize(generator, 0), sinusoids) is None


def test_data_and_points_are_beside_each_other() -> None:
    real, made = np.zeros((4, 2)), np.arange(8.0).reshape(4, 2)
    figure = generated.draw({"data": real, "generated": made})
    assert [axes.get_title() for axes in figure.axes] == ["4 points, data", "4 points, generated"]
    np.testing.assert_array_equal(figure.axes[1].collections[0].get_offsets(), made)
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert png(figure).startswith(b"\x89PNG")
