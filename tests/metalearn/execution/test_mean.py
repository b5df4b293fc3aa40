"""The mean over tasks: that of NumPy, for leaves small and large; that of products is a product."""

import re

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution.low_rank import outer
from metalearn.execution.mean import LARGEST, addends, mean_over_tasks

T = 16


@pytest.mark.parametrize("tasks", [1, 7])
@pytest.mark.parametrize("shape", [(), (3,), (5, 4), (LARGEST + 1,)])
def test_it_is_the_mean(tasks, shape):
    leaf = np.random.default_rng(0).normal(size=(tasks, *shape))
    found = mean_over_tasks({"a": tf.constant(leaf)})["a"]
    assert found.shape == shape
    np.testing.assert_allclose(found, leaf.mean(0), rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(value):
    leaf = np.zeros((4, 3), np.float32)
    leaf[2, 1] = value
    np.testing.assert_array_equal(np.isfinite(mean_over_tasks(tf.constant(leaf))), [True, False, True])


FACTORS = T * 50 * 9 * 8
"""The bytes of the factors of all tasks."""


@pytest.mark.parametrize(
    ("mapping", "tasks", "cache", "is_product"),
    [
        ("vectorized", T, FACTORS, True),
        ("vectorized", T, FACTORS - 1, False),
        ("vectorized", T - 1, FACTORS, False),
        ("sequential", T, FACTORS, False),
    ],
)
@pytest.mark.parametrize("summed", [True, False])
def test_the_mean_of_products_is_a_product(summed, mapping, tasks, cache, is_product, monkeypatch):
    """To 1e-14, for many tasks that fit into the cache. A matrix with another use is computed anyway."""
    monkeypatch.setattr("metalearn.execution.mean.CACHE_BYTES", cache)
    random = np.random.default_rng(0)
    x, u, q = (tf.constant(random.normal(size=(tasks, 50, size))) for size in (5, 4, 4))

    def of_one(values):
        x, u, q = values
        used = outer(2 * x, u, summed)
        read = tf.matmul(q, -used, transpose_b=True)
        added = outer(x, tf.sin(u), summed)
        matrix = tf.identity(-(used * 3) + tf.zeros_like(used)) - tf.constant(0.5, tf.float64) * added
        return [matrix], addends([matrix], tasks, mapping), read

    @tf.function(autograph=False)
    def both(values):
        matrix, sums, _ = tf.vectorized_map(of_one, values)
        return mean_over_tasks(matrix, sums), matrix, sums

    mean, matrix, sums = both((x, u, q))
    if is_product:
        assert [len(part) for part in sums[0]] == [1, 1, 0]
        np.testing.assert_allclose(sums[0].products[0][0], x)
    else:
        assert sums == [()]
    expected = matrix[0].numpy().mean(0)
    np.testing.assert_allclose(mean[0], expected, rtol=0, atol=1e-14 * np.abs(expected).max())


def test_derivatives_of_a_step_are_not_computed_for_each_task(with_xla):
    """Of the four products over examples in a meta-gradient, those of gradients are matrices of tasks."""
    tasks, examples, units = T, 24, 8
    model = ml.models.mlp(hidden=(units, units), activation=tf.sin, dtype="float64")
    learner = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.05))
    drawn = ml.tasks.Sinusoid(examples, examples).sample((0, 1), tasks)
    given = learner.initialize(0), tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.float64), drawn)
    program = with_xla(lambda meta, tasks: learner.meta_gradient(meta, tasks).gradient)
    text = program.experimental_get_compiler_ir(*given)(stage="optimized_hlo")
    assert len(re.findall(rf"= f64\[{tasks},{units},{units}\]\S* dot\(", text)) == 2
    assert len(re.findall(rf"= f64\[{units},{units}\]\S* dot\(", text)) == 2
    result = learner.meta_gradient(*given)
    for mean, of_tasks in zip(*map(tf.nest.flatten, (result.gradient, result.per_task)), strict=True):
        expected = of_tasks.numpy().mean(0)
        np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-13 * max(np.abs(expected).max(), 1e-3))
