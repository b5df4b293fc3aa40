"""Images that are kept on the way are those of the iterations that are named."""

import types

import numpy as np
import pytest
import tensorflow as tf

from experiments.harness.runs.rundir import RunDirectory
from experiments.harness.session.evolution import Evolution, kept
from experiments.harness.session.session import Session


class Trainer(types.SimpleNamespace):
    """The part of a trainer that the callback uses, with images of 4 numbers (the iteration) or none."""

    @property
    def meta(self):
        return {self.name: tf.fill([2, 4], float(self.iteration))}


@pytest.mark.parametrize(
    ("name", "total", "expected"),
    [("images", 2000, [20, 200]), ("images", 30, [3]), ("images", 1, []), ("scores", 2000, [])],
)
def test_images_are_kept_on_the_way(tmp_path, name, total, expected):
    """Images are stored after a hundredth and a tenth of the iterations, not at start and end."""
    trainer, lock = Trainer(iteration=0, name=name), types.SimpleNamespace(require=lambda: None)
    session = Session(RunDirectory(tmp_path), {"training": {"iterations": total}}, trainer, lock)
    watch = Evolution(session).begin(trainer, total)
    wanted = watch.limit
    while trainer.iteration < total:
        trainer.iteration += min(wanted or total, total - trainer.iteration)
        wanted = watch.called(None)
    found = kept(session.run)
    assert list(found) == [f"iteration {number}" for number in expected]
    for number, images in zip(expected, found.values(), strict=True):
        np.testing.assert_array_equal(images, np.full((2, 2, 2, 1), number))
