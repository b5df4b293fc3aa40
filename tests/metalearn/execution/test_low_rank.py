"""Matrices as sums of outer products: equal products and meta-gradients, and no matrix of a task."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution import low_rank
from metalearn.execution.low_rank import avoids_matrices, factors, outer, product, represented

T, N, UNITS = 4, 3, 40


def random(*shape):
    return tf.constant(np.random.default_rng(sum(shape)).normal(size=shape))


def in_a_graph(function, *values):
    """Return ``function(*values)`` from a graph whose values are not constants."""
    return tf.function(function, autograph=False)(*values)


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_products_equal_those_with_the_matrix(summed, transposed):
    """A kernel after two scaled steps multiplies examples as it does when it is computed, to 1e-14."""
    w, x, u, q = random(20, 30), random(2, 20), random(2, 30), random(5, 30 if transposed else 20)

    def both(w, x, u, q):
        step = outer(x, u, summed) * tf.constant(0.3, tf.float64)
        kernel = tf.identity(w - step) + (-(outer(2 * x, tf.sin(u), summed)) + tf.zeros_like(w))
        expected = tf.matmul(q, kernel, transpose_b=transposed)
        with represented(1):
            found = factors(kernel)
            return product(q, kernel, transposed), expected, found.base, found.left, found.right

    value, expected, base, left, right = in_a_graph(both, w, x, u, q)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-14 * np.abs(expected).max())
    np.testing.assert_array_equal(base, w)
    assert left.shape == (4, 20)
    assert right.shape == (4, 30)


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("examples", [5, 30])
def test_a_multiple_of_a_matrix_is_not_computed_for_few_examples(transposed, examples):
    """The scalars multiply the smaller result; a multiple by a tensor of another shape is computed."""
    w, q, rates = random(20, 20), random(examples, 20), random(20)

    def products(w, q, rate, rates):
        multiple = -(rate * tf.identity(w * tf.sqrt(rate)))
        found = [product(q, multiple, transposed), product(q, rates * w, transposed)]
        return found, [tf.matmul(q, each, transpose_b=transposed) for each in (multiple, rates * w)]

    found, expected = in_a_graph(products, w, q, tf.constant(0.3, tf.float64), rates)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-14 * np.abs(other).max())
    graph = tf.function(lambda w, q: product(q, -w, transposed)).get_concrete_function(w, q).graph
    (matmul,) = (each for each in graph.get_operations() if each.type == "MatMul")
    negated = [each.op.type for each in matmul.inputs]
    assert negated == ["Placeholder", "Placeholder" if examples < 20 else "Neg"]


@pytest.mark.parametrize(
    ("kernel", "steps"),
    [
        (lambda w, x, u: w - outer(x, u, True), None),  # outside of a program that represents matrices
        (lambda w, x, u: w - outer(x, u, True), 20),  # too many products in the meta-gradient
        (lambda w, x, u: w - w * outer(x, u, True), 1),  # a rate for each element
        (lambda w, x, u: 0.9 * w - outer(x, u, True), 1),
        (lambda w, x, u: w + tf.sin(w) - outer(x, u, True), 1),
        (lambda w, x, u: w, 1),
        (lambda w, x, u: w + tf.reduce_sum(x[:, :, None] * u[:, None, :], 1)[0, :, None], 1),
        (lambda w, x, u: w + tf.reduce_sum(outer(x, u, True), 1)[:, None], 1),
        (lambda w, x, u: w + tf.reduce_sum(x[None, :, :, None] * u[None, :, None, :], [0, 1]), 1),
        (lambda w, x, u: w + tf.reduce_sum(tf.expand_dims(x[:1], 2) * tf.expand_dims(u, 1), 0), 1),
        (lambda w, x, u: w - outer(tf.boolean_mask(x, x[:, 0] > 0), u[: tf.size(x) // 40], False), 1),
        (lambda w, x, u: functools.reduce(lambda total, _: total + total, range(60), outer(x, u, True)), 1),
    ],
)
def test_other_matrices_are_computed(kernel, steps):
    def has_factors(w, x, u):
        with represented(steps):
            return tf.constant(factors(kernel(w, x, u)) is not None)

    assert not in_a_graph(has_factors, random(20, 20), random(2, 20), random(2, 20))


def test_eager_matrices_are_computed():
    with represented(1):
        assert factors(random(20, 20)) is None


def made(rule, steps, estimator, width=UNITS):
    """Return a learner in float64 with two hidden layers, meta-parameters and tasks."""
    model = ml.models.mlp(hidden=(width, width), activation="tanh", dtype="float64")
    learner = ml.MetaLearner(model, ml.losses.mse, rule, steps=steps, estimator=estimator)
    tasks = ml.tasks.Sinusoid(N, N + 1).sample((0, 1), T)
    return learner, learner.initialize(0), tf.nest.map_structure(lambda x: tf.cast(x, tf.float64), tasks)


RULES = {
    "sgd": ml.rules.sgd(0.05),
    "learned rates": ml.rules.sgd(ml.rules.learned(0.05)),
    "Meta-SGD": ml.rules.sgd(ml.rules.learned(0.05, per="element")),
    "momentum": ml.rules.momentum(0.05),
    "weight decay": ml.rules.weight_decay(ml.rules.sgd(0.05), 0.1),
}


@pytest.mark.parametrize(
    ("rule", "steps", "estimator"),
    [
        *((rule, 2, ml.estimators.checkpointed()) for rule in RULES),
        ("sgd", 1, ml.estimators.checkpointed()),
        ("sgd", 3, ml.estimators.checkpointed(checkpoints=1)),
        ("sgd", 2, ml.estimators.first_order()),
        ("sgd", 2, ml.estimators.truncated(1)),
    ],
)
def test_meta_gradients_do_not_depend_on_it(rule, steps, estimator, monkeypatch):
    """Meta-gradients, also of each task, and adapted parameters equal those with matrices, to 1e-12."""
    found = {}
    for largest in (low_rank.LARGEST_SHARE, 0.0):
        monkeypatch.setattr(low_rank, "LARGEST_SHARE", largest)
        learner, meta, tasks = made(RULES[rule], steps, estimator)
        result = learner.meta_gradient(meta, tasks, (0, 1))
        found[largest] = result.gradient, result.per_task, result.inner, result.loss
    ours, theirs = found.values()
    for one, other in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * max(np.abs(other).max(), 1e-3))


def test_no_matrix_of_a_task_is_computed(with_xla):
    """The compiled meta-gradient contains no ``[T, I, O]``, which it contains if nothing is represented."""
    learner, meta, tasks = made(RULES["sgd"], 1, ml.estimators.checkpointed())

    def matrices():
        program = with_xla(lambda meta, tasks: learner.meta_gradient(meta, tasks).gradient)
        compiled = program.experimental_get_compiler_ir(meta, tasks)(stage="optimized_hlo")
        return f"f64[{T},{UNITS},{UNITS}]" in compiled

    assert not matrices()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(low_rank, "LARGEST_SHARE", 0.0)
        assert matrices()


def test_matrices_that_are_read_otherwise_are_not_avoided():
    def avoided(w, x, u, q):
        kernel = w - outer(x, u, True)
        with represented(1):
            value = product(q, kernel)
            return tf.stack(
                [
                    avoids_matrices([kernel], value),
                    avoids_matrices([kernel], (value, tf.reduce_sum(tf.square(kernel)))),
                ]
            )

    np.testing.assert_array_equal(
        in_a_graph(avoided, random(20, 20), random(2, 20), random(2, 20), random(5, 20)), [True, False]
    )


def test_losses_of_a_training_do_not_depend_on_it(monkeypatch):
    """All losses of a training, which are computed in some iterations, equal those with matrices, to 1e-5."""
    histories = []
    for largest in (low_rank.LARGEST_SHARE, 0.0):
        monkeypatch.setattr(low_rank, "LARGEST_SHARE", largest)
        learner = ml.MetaLearner(
            ml.models.mlp(hidden=(UNITS, UNITS)), ml.losses.mse, ml.rules.sgd(0.05), steps=1
        )
        trainer = ml.MetaTrainer(
            learner, ml.tasks.Sinusoid(N, N), keras.optimizers.Adam(1e-3), meta_batch_size=T, loss_interval=2
        )
        histories.append(trainer.run(iterations=4))
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-5, err_msg=name)
