"""Learners of models with batch statistics compared with NumPy: meta-gradient, evaluation and predictions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from tests.metalearn.normalized import (
    KEYS,
    RATE,
    STATISTICS,
    answers,
    by_complex_step,
    forward,
    network,
    program,
    support_losses,
)
from tests.often import mostly_slow

NAMES = ("batch", "support", "moving", "per_step", "per_step_affine")
OFTEN = (("batch", 1), ("per_step_affine", 3))
TRAINED = [
    pytest.param(name, steps, marks=[] if (name, steps) in OFTEN else pytest.mark.slow)
    for name in NAMES
    for steps in (1, 3)
]


def drawn(seed, tasks):
    """Draw support and query examples of different distributions."""
    rng = np.random.default_rng([*seed])
    support = rng.normal(size=(tasks, 7, 3)), rng.normal(size=(tasks, 7, 2))
    return support, (1 + 2 * rng.normal(size=(tasks, 5, 3)), rng.normal(size=(tasks, 5, 2)))


@pytest.fixture(scope="module")
def source():
    return ml.tasks.from_function(drawn, dtype="float64")


def learner_of(name, steps, model=None, **options):
    """Return a learner that starts from the network's own weights."""
    return ml.MetaLearner(
        model or network(),
        "mse",
        rule=ml.rules.sgd(RATE),
        steps=steps,
        statistics=name,
        initialize="model",
        **options,
    )


def start(learner):
    """Return meta-parameters, with sets of moving statistics that differ from step to step."""
    meta, rng = learner.initialize(0), np.random.default_rng(2)
    if learner.statistics.startswith("per_step"):
        sets = {key: value + rng.uniform(0, 1, value.shape) for key, value in meta["statistics"].items()}
        meta = {**meta, "statistics": sets}
    if learner.statistics == "per_step_affine":
        own = meta["parameters"]
        for key in ("norm/gamma", "norm/beta"):
            assert np.ptp(own[key], 0).max() == 0
            assert len(own[key]) == learner.steps + 1
            own = {**own, key: own[key] + rng.uniform(0, 1, own[key].shape)}
        meta = {**meta, "parameters": own}
    return meta


def unpacked(meta, learner):
    """Return the initial parameters and the sets of moving statistics, in the order of the program."""
    values = [meta["parameters"][key].numpy() for key in KEYS]
    if learner.statistics in ("batch", "support"):
        assert "statistics" not in meta
        return values, [[np.full(4, np.nan)] * 2]
    leaves = [meta["statistics"][key].numpy() for key in STATISTICS]
    if learner.statistics == "moving":
        return values, [leaves]
    return values, [[leaf[k] for leaf in leaves] for k in range(learner.steps + 1)]


def each(tasks):
    """Return tasks one by one, in NumPy."""
    batches = [(batch.inputs.numpy(), batch.targets.numpy()) for batch in (tasks.support, tasks.query)]
    return [[(x[index], y[index]) for x, y in batches] for index in range(len(batches[0][0]))]


@pytest.mark.parametrize(("name", "steps"), TRAINED)
def test_meta_gradients_are_those_of_the_program(source, in_graph, name, steps):
    """Losses equal the NumPy program's to 1e-12, and gradients of every task to 1e-9 of their size."""
    learner = learner_of(name, steps)
    meta, tasks = start(learner), source.sample((0, 0), 2)
    values, sets = unpacked(meta, learner)
    result = in_graph(learner.meta_gradient)(meta, tasks)
    assert result.gradient.keys() == {"parameters", "rule"}
    totals = [np.zeros_like(value) for value in values]
    for index, task in enumerate(each(tasks)):
        expected, left = program(name, values, sets, task, steps)
        np.testing.assert_allclose(result.loss[index], expected, rtol=1e-12)
        derivative = by_complex_step(lambda p, task=task: program(name, p, sets, task, steps)[0], values)
        size = max(np.abs(value).max() for value in derivative)
        for place, key in enumerate(KEYS):
            found = result.per_task["parameters"][key][index]
            np.testing.assert_allclose(found, derivative[place], rtol=1e-9, atol=1e-9 * size)
            totals[place] += derivative[place] / 2
        if name == "moving":
            for key, value in zip(STATISTICS, left[0], strict=True):
                np.testing.assert_allclose(result.inner.model.statistics[key][index], value, rtol=1e-12)
    for key, total in zip(KEYS, totals, strict=True):
        found, size = result.gradient["parameters"][key], np.abs(total).max()
        np.testing.assert_allclose(found, total, rtol=1e-9, atol=1e-9 * max(size, 1e-3))


@pytest.mark.parametrize("name", mostly_slow(NAMES, "support"))
def test_evaluations_are_those_of_the_program(source, name):
    """Query losses after 0 to 4 steps equal the program's, to 1e-10, for learners trained for 2 steps."""
    learner = learner_of(name, 2)
    meta = start(learner)
    values, sets = unpacked(meta, learner)
    report = ml.evaluate(learner, meta, source, num_tasks=3, steps=4, seed=1)
    expected = [
        [program(name, values, sets, task, steps)[0] for steps in range(5)]
        for task in each(source.sample((1, -1), 3))
    ]
    np.testing.assert_allclose(report.per_task, expected, rtol=1e-10)
    np.testing.assert_allclose(report.mean, np.mean(expected, 0), rtol=1e-10)


@pytest.mark.parametrize("name", mostly_slow(NAMES, "batch", "moving", "per_step_affine"))
def test_answers_are_those_of_the_program(source, in_graph, name):
    """Outputs for queries after 3 steps equal the program's to 1e-10, for learners trained for one.

    Support losses agree to 1e-12.
    """
    learner = learner_of(name, 1)
    meta, tasks = start(learner), source.sample((0, 3), 2)
    values, sets = unpacked(meta, learner)

    def fitted(meta, support, inputs):
        adapted = learner.adapt(meta, support, steps=3)
        return adapted.support_loss, learner.predict(adapted, inputs)

    losses, outputs = in_graph(fitted)(meta, tasks.support, tasks.query.inputs)
    for index, task in enumerate(each(tasks)):
        support, (query, _) = task
        expected, _ = answers(name, values, sets, support, query, 3)
        np.testing.assert_allclose(outputs[index], expected, rtol=1e-10)
        np.testing.assert_allclose(losses[index], support_losses(name, values, support, 3), rtol=1e-12)


@pytest.mark.parametrize("name", ["support", "moving", "per_step"])
def test_parameters_alone_do_not_answer(source, name):
    learner = learner_of(name, 1)
    tasks = source.sample((0, 0), 1)
    adapted = learner.adapt(start(learner), tasks.support)
    with pytest.raises(ValueError, match=rf"statistics='{name}' outputs depend on more .*result of adapt"):
        learner.predict(adapted.parameters, tasks.query.inputs)


def test_mappings_agree(source, in_graph):
    """Sequential and vectorised mappings give the same results, to 1e-10."""
    learners = [
        learner_of("per_step", 1, mapping=mapping) for mapping in ("auto", "vectorized", "sequential")
    ]
    assert [each.mapping for each in learners] == ["auto", "vectorized", "sequential"]
    tasks = source.sample((0, 0), 2)
    results = [in_graph(each.meta_gradient)(start(each), tasks) for each in learners[1:]]
    for one, other in zip(*map(tf.nest.flatten, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_what_steps_have_of_their_own_is_not_adapted():
    """Scales and shifts that each step has of its own are not adapted; nothing else to adapt is an error."""
    assert learner_of("per_step_affine", 1)._functions.keys == [key for key in KEYS if "norm" not in key]
    with pytest.raises(ValueError, match=r"adapted='norm/\*' selects only \['norm/gamma', 'norm/beta'\]"):
        learner_of("per_step_affine", 1, adapted="norm/*")


class TestFrozen:
    """A frozen normalisation keeps its loaded values and is used."""

    def test_it_normalises_by_its_own_moving_statistics(self, source):
        """Losses before and after one step of the other layers equal NumPy's with moving statistics."""
        learner = learner_of(None, 1, network(trainable=False))
        meta = learner.initialize(0)
        assert meta.keys() == {"parameters", "rule"}
        assert meta["parameters"].keys() == set(KEYS) - {"norm/gamma", "norm/beta"}
        norm = learner.model.get_layer("norm").get_weights()
        values = {**meta["parameters"], "norm/gamma": norm[0], "norm/beta": norm[1]}
        values = [np.asarray(values[key]) for key in KEYS]

        def loss(p, batch):
            return ((forward_frozen(p, batch[0], norm) - batch[1]) ** 2).mean()

        report = ml.evaluate(learner, meta, source, num_tasks=2, steps=1, seed=1)
        for found, (support, query) in zip(report.per_task, each(source.sample((1, -1), 2)), strict=True):
            gradient = by_complex_step(lambda p, support=support: loss(p, support), values)
            stepped = [
                value if key.startswith("norm") else value - RATE * change
                for key, value, change in zip(KEYS, values, gradient, strict=True)
            ]
            np.testing.assert_allclose(found, [loss(values, query), loss(stepped, query)], rtol=1e-12)


def forward_frozen(p, x, norm):
    """Return outputs of the network with the weights of the normalisation as they are."""
    return forward(p, x, norm[2:])[2]


class TestRefusals:
    """Learners with invalid settings are rejected when they are constructed."""

    def test_batch_statistics_without_a_choice(self):
        """The message names the layer and the available choices."""
        with pytest.raises(ValueError, match=r"has batch statistics \(norm\)") as raised:
            learner_of(None, 1)
        assert all(f"  {name!r}: " in str(raised.value) for name in NAMES)

    def test_a_choice_without_batch_statistics(self):
        with pytest.raises(ValueError, match=r"'moving' was chosen, but no layer .*: omit it"):
            learner_of("moving", 1, ml.models.mlp())

    def test_wrong_second_derivatives(self):
        """Keras' layer is an error for exact estimators only, and exact layers are the remedy."""
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization(name="norm")]
        )
        with pytest.raises(ValueError, match=r"gets wrong in norm.*metalearn\.layers\.exact\(model\)"):
            learner_of("batch", 1, model)
        learner_of("batch", 1, model, estimator="first_order")
        learner_of("batch", 1, ml.layers.exact(model))

    @pytest.mark.parametrize("name", ["support", "per_step"])
    def test_statistics_of_a_support_that_is_split(self, name):
        with pytest.raises(ValueError, match=rf"statistics='{name}' needs the whole support.*'moving'"):
            learner_of(name, 2, batch=ml.problems.slices(2))
