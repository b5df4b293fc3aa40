"""Drawn letters: reproducible, with twenty different drawings of each, and without repeated letters."""

import numpy as np
import pytest

from experiments.data import drawing


@pytest.fixture(scope="module")
def few():
    """Drawings of the letters among the first code points."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        fonts = drawing._fonts()
        shortened = {name: (font, frozenset(range(65, 91))) for name, (font, _) in fonts.items()}
        monkeypatch.setattr(drawing, "_fonts", lambda: shortened)
        yield drawing.draw(), drawing.draw(), drawing.draw(seed=1)


def test_every_letter_has_twenty_different_drawings(few):
    images, letters = few[0]
    assert images.shape == (len(letters), 20, 28, 28, 1)
    assert images.dtype == np.uint8
    assert "A" in letters
    assert len(set(letters)) == len(letters) > 20
    for drawn in images:
        assert len({each.tobytes() for each in drawn}) == 20
        assert drawn.max() > 150
        assert 5 < drawn.mean() < 100  # ink is white, on black


def test_they_are_drawn_alike_every_time(few):
    (first, letters), (again, same), (other, others) = few
    assert letters == same == others
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_drawings_of_a_letter_are_nearer_to_it_than_to_others(few):
    """The nearest mean of ten drawings predicts the letters of the other ten, at 8 times chance."""
    images = few[0][0].reshape(len(few[0][1]), 20, -1).astype(float)
    means = images[:, :10].mean(1)
    distances = ((images[:, 10:, None] - means) ** 2).sum(-1)
    found = distances.argmin(-1) == np.arange(len(means))[:, None]
    assert found.mean() > 8 / len(means)
