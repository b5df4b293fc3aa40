"""Tasks from arrays: the origin and frequency of examples, and errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.sources import from_arrays
from metalearn.sources.leaves import with_extremes
from metalearn.testing import check_source

SIZES = (6, 9, 20)


def numbered():
    """Return data sets whose inputs are 1000 times the index plus the example, targets -inputs in uint8."""
    inputs = [1000.0 * index + np.arange(size)[:, None] for index, size in enumerate(SIZES)]
    return [(x, (x[:, 0] % 1000).astype(np.uint8)) for x in inputs]


def test_examples_are_disjoint_and_of_one_data_set():
    task = from_arrays(numbered(), shots=2, queries=4).sample((0, 1), 500)
    assert task.support.inputs.shape == (500, 2, 1)
    assert task.query.targets.shape == (500, 4)
    assert task.support.inputs.dtype == tf.float32
    assert task.support.targets.dtype == tf.uint8
    inputs = np.concatenate([task.support.inputs, task.query.inputs], 1)[..., 0]
    targets = np.concatenate([task.support.targets, task.query.targets], 1)
    np.testing.assert_array_equal(inputs % 1000, targets)
    sets, rows = np.divmod(inputs.astype(int), 1000)
    assert (sets == sets[:, :1]).all()
    assert (rows < np.array(SIZES)[sets]).all()
    assert all(len(set(row)) == 6 for row in rows)


def test_data_sets_and_examples_are_uniform():
    """Frequencies of data sets and examples are within 4 standard errors of uniform ones."""
    tasks = 6000
    task = from_arrays(numbered(), shots=1, queries=2).sample((0, 2), tasks)
    for batch in (task.support, task.query):
        sets, rows = np.divmod(batch.inputs.numpy()[:, 0, 0].astype(int), 1000)
        for index in range(3):
            share = np.mean(sets == index)
            assert abs(share - 1 / 3) < 4 * np.sqrt(2 / 9 / tasks)
        last = rows[sets == 2]
        counts = np.bincount(last, minlength=20)
        assert (np.abs(counts - len(last) / 20) < 4.5 * np.sqrt(len(last) / 20)).all()


@pytest.mark.parametrize("jit", [False, True])
def test_the_same_in_a_graph_without_copies_of_the_arrays(jit):
    """Tasks in a graph are the same, and the graph does not contain the 400 kB of the arrays."""
    images = np.random.default_rng(0).integers(0, 256, (100, 4000), dtype=np.uint8)
    source = from_arrays([(images, np.arange(100))], shots=3, queries=3)
    sample = tf.function(lambda seed: source.sample(seed, 4), jit_compile=jit, autograph=False)
    seed = tf.constant([1, 2])
    tf.nest.map_structure(np.testing.assert_array_equal, sample(seed), source.sample((1, 2), 4))
    assert sample.get_concrete_function(seed).graph.as_graph_def().ByteSize() < 50_000


def test_nests_and_types():
    first = ({"a": np.zeros((4, 2)), "b": np.zeros(4, np.int64)}, np.zeros((4, 1)))
    task = from_arrays([first], 1, 2, dtype="float64").sample((0, 0), 3)
    assert task.support.inputs["a"].dtype == tf.float64
    assert task.support.inputs["b"].dtype == tf.int64
    assert task.query.inputs["a"].shape == (3, 2, 2)


def test_conformance():
    check_source(from_arrays(numbered(), shots=1, queries=2))


def pair(size, width=1, dtype=np.float32):
    return np.zeros((size, width), dtype), np.zeros((size, 1), np.float32)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ([pair(5), pair(4)], r"data set 1 has 4 examples.*2 shots \+ 3 queries = 5"),
        ([pair(5), pair(5, 2)], r"data set 1 has float32 \(2,\) examples at inputs.*has float32 \(1,\)"),
        ([pair(5), pair(5, 1, np.int32)], "data set 1 has int32"),
        ([(np.full((5, 1), np.nan), np.zeros(5))], "data set 0: inputs has NaN or infinity in example 0"),
        ([pair(5), (np.zeros((5, 1)), np.r_[0, 0, np.inf, 0, 0])], "data set 1: targets has .* example 2"),
        ([(np.zeros((5, 1)), np.zeros(6))], "the same number of examples, got {'inputs': 5, 'targets': 6}"),
        ([(np.zeros((5, 1)), 1.0)], "targets is a single number"),
        ([(np.zeros((5, 1)), np.array(["a"] * 5))], "targets is not an array of numbers"),
        ([np.zeros((5, 1))], r"data set 0 has to be a pair \(inputs, targets\), got ndarray"),
        ([], "takes a list of data sets"),
        (np.zeros((5, 2)), "got ndarray: ml.tasks.dataset takes a single data set"),
        (
            [pair(5), ({"a": np.zeros(5)}, np.zeros(5))],
            r"data set 1 has the arrays \['inputs/a', 'targets'\]",
        ),
    ],
)
def test_what_cannot_be_is_refused(datasets, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(datasets, shots=2, queries=3)


@pytest.mark.parametrize("counts", [(0, 1), (1, 0), (1.5, 1)])
def test_bad_counts_are_refused(counts):
    with pytest.raises(ValueError, match="must be an integer of at least 1"):
        from_arrays([pair(5)], *counts)


def test_what_is_public():
    assert ml.tasks.from_arrays is from_arrays
    assert repr(from_arrays(numbered(), 1, 2)) == "<3 data sets, 1 shots, 2 queries>"


@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize(("rare", "named"), [(-1, "from -1 to"), (3, "from . to 3")])
def test_a_rare_class_out_of_range_is_found_before_training(shots, rare, named):
    """One label among 60 000 outside of the range is an error of the trainer and of the evaluation."""
    x, labels = np.zeros((30_000, 1)), np.arange(30_000) % 3
    wrong = labels.copy()
    wrong[12_345] = rare
    learner = ml.MetaLearner(
        keras.Sequential([keras.Input([1]), keras.layers.Dense(3)]), "cross_entropy", ml.rules.sgd(0.1)
    )
    for tasks in (
        from_arrays([(x, labels), (x, wrong)], shots, 1),
        ml.tasks.dataset((x, wrong), batch=shots),
    ):
        with pytest.raises(ValueError, match=f"{named}.*relabel"):
            ml.MetaTrainer(learner, tasks, keras.optimizers.Adam(1e-3), 2)
        with pytest.raises(ValueError, match=f"{named}.*relabel"):
            ml.evaluate(learner, learner.initialize(0), tasks, num_tasks=2)


def test_extremes_of_targets():
    """Integer targets of tasks are replaced by their extremes, in all shapes; others are not."""
    targets = {"word": np.arange(12).reshape(6, 2), "real": np.ones(6, np.float32)}
    source = from_arrays([(np.zeros((6, 1)), targets)], 3, 1)
    drawn = source.sample((0, 0), 2)
    support, query, _, _ = with_extremes(source, drawn)
    np.testing.assert_array_equal(support.targets["word"], [[[0, 0], [11, 11], [0, 0]]] * 2)
    np.testing.assert_array_equal(query.targets["word"], [[[11, 11]]] * 2)
    np.testing.assert_array_equal(support.targets["real"], drawn.support.targets["real"])
    np.testing.assert_array_equal(support.inputs, drawn.support.inputs)
