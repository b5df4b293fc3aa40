"""Shapes without drawing, and samplers that are not pure functions of their seed."""

import dataclasses
import random

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.random import by_task, normal, split_seed
from metalearn.sources import check_sampler, spec, task_bytes
from metalearn.sources.protocol import Source


class Sampler:
    """A source made from a function."""

    def __init__(self, sample, **attributes):
        self.sample = sample
        self.__dict__.update(attributes)


def task(x):
    return ml.Task(support=ml.Batch(x, x), query=ml.Batch(x, 2 * x))


def pure(seed, tasks):
    return task(normal([tasks, 4, 1], seed))


def test_spec_and_bytes_without_drawing():
    """Shapes and bytes of tasks are known without drawing any."""

    def never(seed, tasks):
        with tf.control_dependencies([tf.debugging.assert_equal(seed[0], 123456)]):
            return pure(seed, tasks)

    for sample in (pure, never):
        found = spec(Sampler(sample), 7)
        assert set(tf.nest.flatten(found)) == {tf.TensorSpec([7, 4, 1])}
        assert isinstance(found, ml.Task)
        assert task_bytes(Sampler(sample)) == 4 * 4 * 4
    assert task_bytes(ml.tasks.Sinusoid(shots=3, queries=5)) == 4 * (3 + 3 + 5 + 5 + 2)


def test_a_spec_of_its_own_is_taken():
    own = Sampler(None, in_graph=False, spec=lambda tasks: task(tf.zeros([tasks, 2, 1], tf.float64)))
    assert task_bytes(own) == 4 * 2 * 8
    with pytest.raises(ValueError, match="needs a method spec"):
        spec(Sampler(pure, in_graph=False), 1)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (lambda seed, tasks: task(tf.zeros([4, 1])), r"support/inputs the shape \(4, 1\) for 3 tasks"),
        (lambda seed, tasks: task(tf.zeros([])), "every leaf needs the leading axis"),
        (lambda seed, tasks: (tf.zeros([tasks, 4]), tf.zeros([tasks, 4])), "returns tuple"),
        (lambda seed, tasks: task(np.random.default_rng([*seed]).normal(size=(tasks, 1))), "from_function"),
        (lambda seed, tasks: task(tf.zeros(int(seed[0]))), r"cannot be traced.*ml\.tasks\.from_function"),
    ],
)
def test_what_has_no_spec_is_explained(sample, message):
    with pytest.raises(ValueError, match=message):
        spec(Sampler(sample), 3)
    with pytest.raises(ValueError, match="is not a source of tasks"):
        spec(object(), 3)


def test_shapes_have_to_be_known():
    unknown = Sampler(lambda seed, tasks: task(tf.zeros(tf.stack([tasks, 1 + tf.abs(seed[0])]))))
    with pytest.raises(ValueError, match=r"support/inputs the shape \(1, None\).*tf\.ensure_shape"):
        task_bytes(unknown)


@pytest.mark.parametrize(
    "source", [ml.tasks.Sinusoid(), ml.tasks.Harmonic(), ml.tasks.Multimodal(), Sampler(pure)]
)
def test_pure_samplers_pass(source):
    check_sampler(source)
    assert isinstance(source, Source)


OWN_GENERATOR = np.random.default_rng(0)


def own_generator(seed, tasks):
    return task(tf.constant(OWN_GENERATOR.normal(size=(tasks, 4, 1))))


def global_numpy(seed, tasks):
    return task(tf.constant(np.random.normal(size=(tasks, 4, 1)), tf.float32))


def python_random(seed, tasks):
    return task(tf.fill([tasks, 4, 1], random.random()))


def stateful(seed, tasks):
    return task(tf.random.normal([tasks, 4, 1]))


def stateful_with_seed(seed, tasks):
    return task(tf.random.normal([tasks, 4, 1], seed=1))


def ignores(seed, tasks):
    return task(normal([tasks, 4, 1], (0, 0)))


def ignores_iteration(seed, tasks):
    return task(normal([tasks, 4, 1], tf.stack([seed[0], 0])))


def ignores_run(seed, tasks):
    return task(normal([tasks, 4, 1], tf.stack([0, seed[1]])))


def noise_from_numpy(seed, tasks):
    """Depends on the seed, except noise on the targets, which is constant in a graph."""
    drawn = pure(seed, tasks)
    noise = OWN_GENERATOR.normal(size=(tasks, 4, 1)).astype(np.float32)
    return drawn._replace(query=drawn.query._replace(targets=drawn.query.targets + 0.1 * noise))


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (own_generator, "same tasks for every second number .* called once, when the graph was built"),
        (global_numpy, "same tasks for every second number"),
        (python_random, "same tasks for every second number"),
        (stateful, "other tasks when it is called again with the same seed"),
        (stateful_with_seed, "other tasks when it is called again with the same seed"),
        (ignores, "same tasks for every second number of the seed: it ignores the seed"),
        (ignores_iteration, "same tasks for every second number"),
        (ignores_run, "same tasks for every first number"),
        (noise_from_numpy, "another query/targets in a graph than eagerly"),
    ],
)
def test_samplers_that_are_not_pure_are_found_and_the_adapter_named(sample, message):
    with pytest.raises(ValueError, match=message) as error:
        check_sampler(Sampler(sample))
    assert "ml.tasks.from_function(sample)" in str(error.value)


def test_a_constant_source_says_so():
    check_sampler(Sampler(ignores, constant=True))
    with pytest.raises(ValueError, match="declares constant=True, but draws other tasks"):
        check_sampler(Sampler(pure, constant=True))


def test_few_tasks_are_drawn():
    """The check calls the sampler twice, for at most 5 tasks, so that a slow sampler costs little."""
    asked = []

    def counting(seed, tasks):
        asked.append(tasks)
        return task(normal([tasks, 1], split_seed(seed, 2)[0]))

    check_sampler(Sampler(counting))
    assert len(asked) == 2
    assert max(asked) <= 5


def test_equal_values_are_checked_once_and_objects_each():
    """Sources with equal values are checked once, other objects each time."""
    calls = []

    @dataclasses.dataclass(frozen=True)
    class Counted:
        shots: int

        def sample(self, seed, tasks):
            calls.append(self.shots)
            return ml.tasks.Sinusoid(self.shots).sample(seed, tasks)

    ml.tasks.check_sampler(Counted(3))
    first = len(calls)
    ml.tasks.check_sampler(Counted(3))
    assert len(calls) == first
    ml.tasks.check_sampler(Counted(4))
    assert len(calls) == 2 * first
    impure = dataclasses.make_dataclass("Impure", [], frozen=True, namespace={"sample": lambda *_: None})
    for _ in range(2):
        with pytest.raises(ValueError, match="has to return"):
            ml.tasks.check_sampler(impure())


def test_a_share_has_to_be_that_of_the_whole():
    """A source that says it is divisible without drawing by task would give all workers equal tasks."""
    check_sampler(
        Sampler(lambda seed, tasks: task(by_task(lambda n: normal([n, 4, 1], seed), tasks)), divisible=True)
    )
    with pytest.raises(
        ValueError, match=r"divisible=True, but a worker draws another support/inputs .*by_task"
    ):
        check_sampler(Sampler(pure, divisible=True))
