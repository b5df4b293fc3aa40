"""Programs of learners that another process has stored: the same results, and no others' programs."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution.compiled import Compiled
from metalearn.problems.stored import Stored, program

TASKS = ml.tasks.Sinusoid(5, 6)


def learner(**changes):
    """Return a new learner, of which some parts are others."""
    parts = {"loss": ml.losses.mse, "rule": ml.rules.sgd(0.1), "steps": 2} | changes
    return ml.MetaLearner(ml.models.mlp(hidden=(8,), activation=tf.sin), **parts)


def images():
    """Return a learner of images with batch statistics, noise and a metric, and a source for it."""
    inputs = keras.Input([12])
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(6)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Dropout(0.2)(hidden)))
    data = np.random.default_rng(0).normal(size=[30, 12]), np.repeat(np.arange(3), 10)
    tasks = ml.tasks.from_arrays([data], shots=6, queries=6)
    made = ml.MetaLearner(
        ml.layers.exact(model), "cross_entropy", ml.rules.sgd(0.1), statistics="moving", metrics=["accuracy"]
    )
    return made, tasks


def evaluated(cache=None, made=None, tasks=TASKS, **settings):
    """Return an evaluation, by a new learner unless one is given."""
    made = made or learner()
    settings = {"num_tasks": 5, "steps": 3} | settings
    return ml.evaluate(made, made.initialize(0), tasks, **settings, cache=cache)


def diagnosed(cache=None, made=None, **settings):
    made = made or learner()
    return ml.diagnostics.diagnose(
        made, made.initialize(0), TASKS.sample((0, 0), 3), (0, 4), cache=cache, **settings
    )


@pytest.fixture
def found(monkeypatch):
    """Return a function after which a program that is not in the cache fails the test."""
    return lambda: monkeypatch.setattr(Compiled, "exported", lambda *_: pytest.fail("a program is traced"))


def assert_equal(left, right):
    tf.nest.assert_same_structure(left, right)
    assert list(left) == list(right)
    for one, other in zip(tf.nest.flatten(left), tf.nest.flatten(right), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("at_once", ["all", 3])
@pytest.mark.parametrize("make", [lambda: (learner(), TASKS), images], ids=["sinusoid", "images"])
def test_an_evaluation_from_the_cache_has_the_same_results(found, make, at_once):
    """Also with other tasks: the list of an evaluation is an argument."""
    expected = evaluated(None, *make(), queries_at_once=at_once)
    cache = {}
    evaluated(cache, *make(), queries_at_once=at_once, seed=4)
    assert len(cache) == 1
    found()
    again = evaluated(cache, *make(), queries_at_once=at_once)
    assert_equal({**again._asdict(), **again.metrics}, {**expected._asdict(), **expected.metrics})
    assert len(cache) == 1


def test_a_diagnosis_from_the_cache_has_the_same_results(found):
    expected = diagnosed()
    cache = {}
    assert_equal(diagnosed(cache), expected)
    found()
    assert_equal(diagnosed(cache), expected)
    assert len(cache) == 1


def test_a_learner_keeps_its_programs_with_and_without_a_cache(monkeypatch):
    made, cache = learner(), {}
    first = evaluated(cache, made)
    monkeypatch.setattr(Compiled, "build", lambda *_: None)  # those that there are need not be built
    for other in (cache, None):
        np.testing.assert_array_equal(evaluated(other, made).per_task, first.per_task)


def test_a_chunk_of_another_size_has_a_program_of_its_own(found, monkeypatch):
    """With the mapping and the compiler of the first."""
    monkeypatch.setattr("metalearn.evaluation.task_list.TASKS_AT_ONCE", 3)
    expected = evaluated(num_tasks=5)
    cache, made = {}, learner()
    np.testing.assert_array_equal(evaluated(cache, made, num_tasks=5).per_task, expected.per_task)
    assert len(cache) == 2
    found()
    np.testing.assert_array_equal(evaluated(cache, num_tasks=5).per_task, expected.per_task)


@pytest.mark.parametrize(
    "other",
    [
        lambda cache: evaluated(cache, steps=4),
        lambda cache: evaluated(cache, queries_at_once=6),
        lambda cache: evaluated(cache, num_tasks=4),
        lambda cache: evaluated(cache, learner(rule=ml.rules.sgd(0.2))),
        lambda cache: evaluated(cache, learner(outer_loss="mean_absolute_error")),
        lambda cache: evaluated(cache, learner(metrics=["mean_absolute_error"])),
        lambda cache: evaluated(cache, tasks=ml.tasks.Sinusoid(4, 6)),
        lambda cache: evaluated(cache, learner(mapping="sequential")),
        diagnosed,
    ],
)
def test_other_evaluations_have_other_programs(other):
    cache = {}
    evaluated(cache)
    evaluated(cache, learner())
    assert len(cache) == 1
    other(cache)
    assert len(cache) == 2


@pytest.mark.parametrize(
    "settings",
    [{"lanczos_iterations": 3}, {"reference": ml.estimators.unrolled()}],
    ids=["iterations", "reference"],
)
def test_settings_of_a_diagnosis_count(settings):
    cache = {}
    diagnosed(cache)
    diagnosed(cache, **settings)
    assert len(cache) == 2


def noisy(scale=1.0, weights=None):
    """Return a learner of a bilevel problem with noise and step weights."""
    problem = ml.BilevelProblem(
        rule=ml.rules.sgd(0.1),
        steps=2,
        start=lambda phi, task: {"w": phi},
        inner_loss=lambda parameters, phi, batch, model: tf.reduce_sum((parameters["w"] - batch.noise) ** 2),
        outer_loss=lambda parameters, phi, task, model: tf.reduce_sum(parameters["w"] ** 2),
        step_weights=weights,
    )

    def draw(seed, count):
        return scale * tf.random.stateless_normal([count, 2], seed)

    return ml.BilevelLearner(problem, start=tf.zeros([2]), noise=draw)


NOTHING = ml.types.Task((), ())


def key(made, example=NOTHING):
    return Stored({}, made, made.initialize(0), example).key("program")


def test_what_a_problem_is_posed_with_counts():
    """Noise and step weights are outside of the functions of a task."""
    weights = tf.constant([0.0, 0.5, 0.5])
    keys = [key(noisy()), key(noisy(2.0)), key(noisy(weights=weights)), key(noisy(weights=weights[::-1]))]
    assert len(set(keys)) == 4
    assert key(noisy(2.0)) == keys[1]


@dataclasses.dataclass(frozen=True)
class Drifting:
    """A learner whose state is updated at a rate, which no function of a task depends on."""

    learner: ml.MetaLearner
    rate: float

    def __getattr__(self, name):
        return getattr(self.learner, name)

    def next_state(self, meta, tasks, inner):
        return self.rate * meta["parameters"]["output/bias"]


def test_the_update_of_the_state_counts():
    keys = [key(Drifting(learner(), rate), TASKS.sample((0, 0), 1)) for rate in (0.1, 0.1, 0.2)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"steps": 7}, {"steps": 8}),  # both a loop with the same body
        ({"mapping": "vectorized"}, {"mapping": "sequential"}),
        # The inner loss is reported, although there is no step.
        ({"steps": 0, "outer_loss": "mse"}, {"steps": 0, "outer_loss": "mse", "loss": "mean_absolute_error"}),
    ],
    ids=["steps", "mapping", "loss"],
)
def test_what_no_single_step_shows_counts(first, second):
    example = TASKS.sample((0, 0), 1)
    assert key(learner(**first), example) == key(learner(**first), example) != key(learner(**second), example)


def _doubled(made, meta, tasks):
    return {"doubled": 2.0 * meta}


def test_within_a_graph_nothing_is_compiled_separately():
    """And the program of a learner is that of any function of it."""
    made = noisy()
    doubled = program(made, _doubled)
    assert float(doubled(tf.constant(3.0), ml.types.Task((), ()))["doubled"]) == 6.0
    with tf.Graph().as_default():
        assert program(made, _doubled).func is _doubled
