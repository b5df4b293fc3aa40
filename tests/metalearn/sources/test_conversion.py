"""Conversion to sources, and the adapters in error messages."""

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.sources import as_source, dataset, from_arrays
from metalearn.sources.function import Function

X, Y = np.zeros((4, 1)), np.zeros((4, 1))


def sampler(seed, tasks):
    x = np.random.default_rng([*seed]).normal(size=(tasks, 2, 1))
    return (x, x), (x, x)


def test_sources_stay_and_functions_and_parts_become_sources():
    for source in (ml.tasks.Sinusoid(), from_arrays([(X, Y)], 1, 1), dataset((X, Y))):
        assert as_source(source) is source
    assert isinstance(as_source(sampler), Function)
    parts = as_source({"support": (X, Y), "query": (X[:2], Y[:2])})
    assert parts.sample((0, 0), 1).query.inputs.shape == (1, 2, 1)
    assert as_source(ml.Task(support=ml.Batch(X, Y), query=ml.Batch(X, Y))).constant


def generator():
    yield X


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            tf.data.Dataset.from_tensor_slices((X, Y)),
            r"tf\.data\.Dataset .*ml\.tasks\.dataset\(tuple\(data\.batch",
        ),
        (iter(tf.data.Dataset.from_tensor_slices((X, Y))), "are not determined by a seed"),
        (generator(), "the values of a generator are not determined by a seed.*default_rng.*from_function"),
        (iter([X]), "from_function"),
        ([(X, Y), (X, Y)], r"ml\.tasks\.from_arrays\(datasets, shots=\.\.\., queries=\.\.\.\)"),
        ((X, Y), r"ml\.tasks\.dataset\(\(inputs, targets\)\)"),
        (X, r"ml\.tasks\.dataset\(\(inputs, targets\)\)"),
        (ml.tasks.Sinusoid, r"is a class of sources: pass an instance, Sinusoid\(\.\.\.\)"),
        (None, r"None is not a source of tasks: use an object with sample\(seed, tasks\)"),
        ("sinusoid", "'sinusoid' is not a source of tasks"),
    ],
)
def test_what_is_no_source_has_its_adapter_named(given, message):
    with pytest.raises(ValueError, match=message):
        as_source(given)


def test_the_remedy_for_tf_data_works():
    data = tf.data.Dataset.from_tensor_slices((np.arange(5.0), np.arange(5)))
    source = dataset(tuple(data.batch(len(data)).get_single_element()))
    np.testing.assert_array_equal(source.sample((0, 0), 1).support.targets, [np.arange(5)])
