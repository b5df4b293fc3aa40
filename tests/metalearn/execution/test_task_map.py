"""The map over tasks: two mappings with the same results, and the choice between them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution import task_map
from metalearn.execution.choice import NotVectorizableError
from metalearn.execution.compiled import Compiled
from metalearn.execution.task_map import map_tasks

LAYERS = keras.layers


def both(function):
    """Return ``function(mapping)`` for each of the ways."""
    return [function(mapping) for mapping in ("vectorized", "sequential")]


@pytest.mark.parametrize("wrap", ["eager", "in_graph", "with_xla"])
def test_both_ways_agree(wrap, request):
    """Both mappings give equal values and structures, with nested results, captured tensors and tuples."""
    arguments = (
        {"a": tf.constant([1.0, 2.0]), "b": tf.constant([[3.0, 4.0], [5.0, 6.0]])},
        tf.constant([1, 2]),
    )
    wrapped = (lambda function: function) if wrap == "eager" else request.getfixturevalue(wrap)

    def map_both(mapping):
        def whole(factor, *arguments):
            def of_one_task(left, right):
                return {
                    "batch": ml.Batch(factor * left["a"], tf.reverse(left["b"], [0])),
                    "none": (),
                }, right + 1

            return map_tasks(of_one_task, *arguments, mapping=mapping)

        return wrapped(whole)(tf.constant(3.0), *arguments)

    for found in both(map_both):
        tf.nest.assert_same_structure(found, ({"batch": ml.Batch(0, 0), "none": ()}, 0))
        np.testing.assert_array_equal(found[0]["batch"].inputs, [3.0, 6.0])
        np.testing.assert_array_equal(found[0]["batch"].targets, [[4.0, 3.0], [6.0, 5.0]])
        np.testing.assert_array_equal(found[1], [2, 3])


def test_map_tasks_applies_a_function_to_each():
    """Arguments are split along axis 0 of every leaf, and results are stacked."""
    left = {"a": tf.constant([1.0, 2.0]), "b": tf.constant([[3.0, 4.0], [5.0, 6.0]])}
    found = map_tasks(
        lambda one, two: {"sum": tf.reduce_sum(one["b"]) * one["a"] + two}, left, tf.constant([10.0, 20.0])
    )
    np.testing.assert_array_equal(found["sum"], [17.0, 42.0])


def test_map_tasks_does_not_fall_back_in_silence():
    """With ``vectorized``, an operation without a vectorised form is an error, not a slow loop."""
    with pytest.raises(NotVectorizableError, match="no vectorised form of L2Loss: map tasks one after"):
        map_tasks(tf.nn.l2_loss, tf.ones((2, 3)), mapping="vectorized")


def test_one_by_one_needs_no_vectorised_form():
    """The sequential mapping works for an operation without a vectorised form."""
    values = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(map_tasks(tf.nn.l2_loss, values, mapping="sequential"), [2.5, 12.5])


def test_one_task_needs_no_loop(in_graph):
    """A single task is computed without a loop in the graph, with the same results."""
    task = {"a": tf.constant([[1.0, 2.0]]), "b": tf.constant([3.0])}
    doubled = in_graph(lambda task: map_tasks(lambda of: (2 * of["a"], of["b"]), task, mapping="sequential"))
    for found, expected in zip(doubled(task), ([[2.0, 4.0]], [3.0]), strict=True):
        np.testing.assert_array_equal(found, expected)
    operations = doubled.get_concrete_function(task).graph.get_operations()
    assert not any("While" in operation.type for operation in operations)


def test_unknown_ways_are_refused():
    """The message lists the known mappings, for ``map_tasks`` and for learners."""
    message = "mapping must be one of auto, vectorized, sequential, got 'parallel'"
    with pytest.raises(ValueError, match=message):
        map_tasks(tf.identity, tf.ones(2), mapping="parallel")
    with pytest.raises(ValueError, match=message):
        ml.MetaLearner(ml.models.mlp(), ml.losses.mse, ml.rules.sgd(), mapping="parallel")


@pytest.fixture(scope="module")
def images():
    """Return a convolutional model on 8 x 8 images in float64 and two tasks of random ones."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), dtype="float64"),
            LAYERS.Conv2D(3, 3, strides=2, activation="tanh", name="conv_a", dtype="float64"),
            LAYERS.Conv2D(2, 2, activation="tanh", name="conv_b", dtype="float64"),
            LAYERS.Flatten(dtype="float64"),
            LAYERS.Dense(2, name="output", dtype="float64"),
        ]
    )
    random = np.random.default_rng(0)
    batches = [
        ml.Batch(tf.constant(random.normal(size=(2, 5, 8, 8, 1))), tf.constant(random.normal(size=(2, 5, 2))))
        for _ in range(2)
    ]
    return model, ml.Task(*batches)


def by_tapes(model, meta, task, steps, rate):
    """Return one task's meta-loss and meta-gradient by nested tapes, without the package's loops and maps."""

    def loss(parameters, batch):
        return tf.reduce_mean(tf.square(ml.functional.apply(model, parameters, batch.inputs) - batch.targets))

    with tf.GradientTape() as tape:
        tape.watch(meta)
        parameters = dict(meta)
        for _ in range(steps):
            with tf.GradientTape() as inner:
                inner.watch(parameters)
                value = loss(parameters, task.support)
            gradient = inner.gradient(value, parameters)
            parameters = {key: parameters[key] - rate * gradient[key] for key in parameters}
        value = loss(parameters, task.query)
    return value, tape.gradient(value, meta)


@pytest.mark.parametrize("steps", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_convolutions_are_mapped_one_by_one(images, in_graph, steps):
    """The sequential mapping, chosen automatically for convolutions, equals nested tapes to 1e-10."""
    model, tasks = images
    learner = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1), steps)
    meta = learner.initialize(0)
    result = in_graph(learner.meta_gradient)(meta, tasks)
    reference = in_graph(lambda meta, task: by_tapes(model, meta, task, steps, 0.1))
    for index in range(2):
        task = tf.nest.map_structure(lambda leaf, index=index: leaf[index], tasks)
        loss, gradient = reference(meta["parameters"], task)
        np.testing.assert_allclose(result.loss[index], loss, rtol=0, atol=1e-10)
        for key, value in gradient.items():
            assert np.abs(value).max() > 1e-3
            found = result.per_task["parameters"][key][index]
            np.testing.assert_allclose(found, value, rtol=0, atol=1e-10)


def test_the_learner_maps_everything_one_by_one(images, in_graph):
    """With a sequential mapping, predictions and losses equal those of each task's adapted parameters."""
    model, tasks = images
    learner = ml.MetaLearner(model, ml.losses.mse, ml.rules.sgd(0.1), 2)
    meta = learner.initialize(0)

    def everything(meta, tasks):
        fitted = learner.adapt(meta, tasks.support)
        outputs = learner.predict(fitted.parameters, tasks.query.inputs)
        return fitted, outputs, learner.losses(meta, tasks, ml.Inner(fitted.parameters))

    fitted, outputs, losses = in_graph(everything)(meta, tasks)
    for index in range(2):
        parameters = {key: value[index] for key, value in fitted.parameters.items()}
        expected = ml.functional.apply(model, parameters, tasks.query.inputs[index])
        np.testing.assert_allclose(outputs[index], expected, rtol=0, atol=1e-12)
        error = np.mean((expected - tasks.query.targets[index]) ** 2)
        np.testing.assert_allclose(losses["outer/loss"][index], error, rtol=1e-12)
    np.testing.assert_allclose(losses["inner/loss"], fitted.support_loss[:, -1], rtol=1e-12)


@pytest.mark.parametrize(
    ("mapping", "shots"),
    [("vectorized", 50_000), ("sequential", 100_000)],
)
def test_large_graphs_run_twice(in_graph, as_vector, mapping, shots):
    """A large graph with a loop runs twice with the same result.

    For activations of hundreds of megabytes, TensorFlow's memory optimizer would rewrite sums within a loop
    so that a second run fails, or any run of a function in a fixed order.
    """
    learner = ml.MetaLearner(
        ml.models.mlp(hidden=(64, 64), activation="tanh"),
        ml.losses.mse,
        ml.rules.sgd(),
        2,
        estimator=ml.estimators.checkpointed(),
        mapping=mapping,
    )
    tasks = ml.tasks.Sinusoid(shots=shots, queries=shots).sample((0, 0), 2)
    meta, estimate = learner.initialize(0), in_graph(lambda *a: learner.meta_gradient(*a).gradient)
    first = as_vector(estimate(meta, tasks))
    np.testing.assert_allclose(as_vector(estimate(meta, tasks)), first, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mapping", ["vectorized", "sequential"])
def test_what_a_function_hands_through_is_given_to_every_task(mapping):
    """A result that is a captured tensor is repeated for every task; an argument is returned unchanged."""
    outside = tf.constant([1.0, 2.0])
    found = map_tasks(lambda x: (x, outside), tf.constant([3.0, 4.0, 5.0]), mapping=mapping)
    np.testing.assert_array_equal(found[0], [3, 4, 5])
    np.testing.assert_array_equal(found[1], [[1, 2]] * 3)


def test_bits_do_not_depend_on_how_many_tasks_there_are(in_graph):
    """The meta-gradient of each task has the same bits in maps over 8 and 3 tasks, which run at a time."""
    random = np.random.default_rng(0)
    images = random.random((4, 6, 12, 12, 1)) * 255
    tasks = ml.tasks.FewShot(images.astype(np.uint8), ways=2, shots=2, queries=2).sample((0, 0), 8)
    layers = [keras.Input((12, 12, 1)), ml.layers.Conv2D(8, 3), keras.layers.Flatten(), ml.layers.Dense(2)]
    learner = ml.MetaLearner(keras.Sequential(layers), "cross_entropy", ml.rules.sgd(0.3))
    meta = learner.initialize(0)

    def of_one_task(task):
        alone = tf.nest.map_structure(lambda leaf: leaf[None], task)
        return learner.meta_gradient(meta, alone).gradient

    each = in_graph(lambda tasks: map_tasks(of_one_task, tasks, mapping="sequential"))
    all_of_them = tf.nest.flatten(each(tasks))
    assert max(np.abs(leaf).max() for leaf in all_of_them) > 1e-3
    for start in (0, 5):
        some = tf.nest.flatten(
            each(tf.nest.map_structure(lambda leaf, start=start: leaf[start : start + 3], tasks))
        )
        for found, expected in zip(some, all_of_them, strict=True):
            np.testing.assert_array_equal(found, expected[start : start + 3])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("compiled", [tf.function, lambda f, **how: Compiled(f, "sequential", **how)])
def test_only_xla_needs_a_loop(compiled, jit_compile):
    """Programs of XLA loop over the tasks, also those that the caller compiles; all others use all cores."""
    needed = []

    def squared(x):
        needed.append(task_map.needs_a_loop())
        return map_tasks(
            lambda x: x * map_tasks(tf.identity, x, mapping="sequential"), x, mapping="sequential"
        )

    tasks = tf.reshape(tf.range(12.0), [6, 2])
    np.testing.assert_array_equal(compiled(squared, jit_compile=jit_compile)(tasks), tasks.numpy() ** 2)
    assert needed == [jit_compile]
