"""Draws without replacement against the uniform distribution over ordered selections."""

import itertools
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from metalearn.sources.distinct import draw_below, draw_distinct

SEED = tf.constant([3, 8])


@pytest.mark.parametrize(("size", "count"), [(4, 2), (4, 4), (5, 3)])
def test_all_ordered_selections_are_equally_probable(size, count):
    """Chi-square over all ordered selections is below its mean plus 5 standard deviations."""
    draws = 40_000
    found = Counter(map(tuple, draw_distinct(tf.fill([draws], size), count, SEED).numpy()))
    selections = list(itertools.permutations(range(size), count))
    assert set(found) <= set(selections)
    expected = draws / len(selections)
    chi_square = sum((found[selection] - expected) ** 2 / expected for selection in selections)
    freedom = len(selections) - 1
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


def test_each_task_has_its_own_size():
    """Drawn numbers are different and below each task's size; if all are drawn, each occurs."""
    sizes = np.tile([3, 7, 1000], 400)
    drawn = draw_distinct(tf.constant(sizes, tf.int32), 3, SEED).numpy()
    assert all(len(set(row)) == 3 for row in drawn)
    assert (drawn < sizes[:, None]).all()
    assert (drawn >= 0).all()
    np.testing.assert_array_equal(np.sort(drawn[sizes == 3], 1), np.tile([0, 1, 2], (400, 1)))
    assert drawn[sizes == 7].max() == 6
    assert drawn[sizes == 1000].max() > 990


@pytest.mark.parametrize("jit", [False, True])
def test_the_same_eagerly_in_a_graph_and_under_xla(jit):
    sizes = tf.constant([9, 30, 2_000_000_000] * 50)

    def draw(seed):
        return draw_distinct(sizes, 9, seed), draw_below(sizes, [150], seed)

    compiled = tf.function(draw, jit_compile=jit, autograph=False)(SEED)
    tf.nest.map_structure(np.testing.assert_array_equal, compiled, draw(SEED))
