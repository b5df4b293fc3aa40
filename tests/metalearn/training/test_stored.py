"""What trainers take from a cache: programs with the same results, and checks that were made before."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.execution.compiled import Compiled
from metalearn.training import stored
from metalearn.training.program import Program

TASKS = 4


def mlp(**settings):
    return ml.models.mlp(hidden=(8,), activation=tf.sin, **settings)


def make(cache=None, seed=3, **changes):
    """Return a trainer on sinusoids, of which parts of the learner or arguments are changed."""
    parts = {"model": mlp(), "loss": ml.losses.mse, "rule": ml.rules.sgd(0.1), "steps": 2}
    of_learner = {*parts, "estimator", "step_weights"}
    parts |= {name: changes.pop(name) for name in of_learner & changes.keys()}
    arguments = {"tasks": ml.tasks.Sinusoid(5, 5), "optimizer": keras.optimizers.Adam(0.01)} | changes
    return ml.MetaTrainer(ml.MetaLearner(**parts), meta_batch_size=TASKS, seed=seed, cache=cache, **arguments)


def images(cache=None, seed=0):
    """Return a trainer with statistics of batches and noise, one task after the other."""
    inputs = keras.Input([12])
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(6)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Dropout(0.2)(hidden)))
    random = np.random.default_rng(0)
    data = random.normal(size=[30, 12]), np.repeat(np.arange(3), 10)
    tasks = ml.tasks.from_arrays([data], shots=6, queries=6)
    learner = ml.MetaLearner(
        ml.layers.exact(model), "cross_entropy", ml.rules.sgd(0.1), mapping="sequential", statistics="moving"
    )
    return ml.MetaTrainer(learner, tasks, keras.optimizers.SGD(0.1), TASKS, seed, cache=cache)


@pytest.fixture
def untraced(monkeypatch):
    """Return a function that makes tracing a program fail from then on."""
    return lambda: monkeypatch.setattr(Program, "trace", lambda *_: pytest.fail("a program is traced"))


def programs(cache):
    return [key for key in cache if key.startswith("program")]


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"steps": 7, "carry": 3, "jit_compile": False},
        {"estimator": ml.estimators.first_order(), "jit_compile": False},
        {"rule": ml.rules.sgd(ml.rules.learned(0.1)), "clip_task_norm": 1.0, "loss_interval": 1},
    ],
    ids=str,
)
def test_a_program_from_the_cache_has_the_results_of_a_traced_one(untraced, changes):
    """Also if it was stored by a trainer with another seed, which must not be a part of it."""
    expected = make(**changes)
    history = expected.run(30)
    cache = {}
    make(cache, seed=8, **changes).build()
    (key,) = programs(cache)
    untraced()
    trainer = make(cache, **changes)
    assert_equal(trainer.run(30), history)
    assert_equal(trainer.state(), expected.state())
    assert trainer.disagreement == expected.disagreement
    assert (trainer.mapping, trainer.jit_compile) == (expected.mapping, expected.jit_compile)
    assert programs(cache) == [key]


def test_the_same_with_statistics_and_noise_and_without_a_vectorised_form(untraced):
    expected = images()
    history = expected.run(6)
    cache = {}
    images(cache, seed=5).build()  # whose noise is another
    untraced()
    trainer = images(cache)
    assert_equal(trainer.run(6), history)
    assert_equal(trainer.state(), expected.state())


SCALE = np.linspace(0.5, 1.5, 5, dtype=np.float32)[:, None]


def scaled(scale):
    """Return a loss with constants, such as those that a user's loss computes from data."""
    return lambda targets, outputs: tf.reduce_mean(scale * tf.square(targets - outputs))


@dataclasses.dataclass(frozen=True)
class Late(ml.Rule):
    """A rule whose second step has a rate of its own."""

    rate: float

    def learnable(self, parameters):
        return ()

    def init(self, parameters):
        return ()

    def update(self, gradients, state, parameters, values, step):
        rate = self.rate if step == 1 else 0.1
        return {key: value - rate * gradients[key] for key, value in parameters.items()}, ()


@pytest.fixture
def keys(monkeypatch):
    """Return a function that returns the key of a trainer's program, which is not traced."""
    for name, result in (("exported", b""), ("use", None), ("build", None)):
        monkeypatch.setattr(Compiled, name, lambda *_, result=result: result)

    def key(**changes):
        cache = {}
        make(cache, **changes, check_derivatives=False).build()
        (found,) = programs(cache)
        return found

    return key


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": lambda: "mean_absolute_error"},
        {"loss": lambda: scaled(SCALE)},
        {"rule": lambda: ml.rules.sgd(np.nextafter(np.float32(0.1), np.float32(1)))},
        {"rule": lambda: Late(0.2)},
        {"model": lambda: ml.models.mlp(hidden=(9,), activation=tf.sin)},
        {"model": lambda: ml.models.mlp(hidden=(8,), activation=tf.cos)},
        {"steps": lambda: 3},
        {"step_weights": lambda: ml.step_weights.annealed(20)},
        {"estimator": lambda: ml.estimators.truncated(1)},
        {"estimator": ml.estimators.first_order},
        {"optimizer": lambda: keras.optimizers.Adam(0.01, beta_1=0.8)},
        {"optimizer": lambda: keras.optimizers.Adam(0.01, clipnorm=1.0)},
        {"optimizer": lambda: keras.optimizers.SGD(0.01)},
        {"tasks": lambda: ml.tasks.Sinusoid(6, 5)},
        {"clip_task_value": lambda: 1.0},
        {"clip_task_norm": lambda: 1.0},
        {"loss_interval": lambda: 3},
        {"carry": lambda: 2},
        {"jit_compile": lambda: False},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_trainer_has_another_program(keys, changes):
    """Whatever a program is traced from counts; objects of the process, and seeds, do not."""
    first, second = ({name: made() for name, made in changes.items()} for _ in range(2))
    assert keys(**first) == keys(**second, seed=4) != keys()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("step_weights", (ml.step_weights.annealed(20), ml.step_weights.annealed(30))),
        ("loss", (scaled(SCALE), scaled(np.nextafter(SCALE, np.float32(2))))),
        ("rule", (Late(0.2), Late(0.3))),
    ],
)
def test_constants_count(keys, name, values):
    """In the last bit, in a later step than the first, and outside of the functions of a task."""
    first, second = (keys(**{name: value}) for value in values)
    assert first != second


def test_operations_count_and_not_how_they_are_written(keys):
    assert keys(rule=Late(0.1)) == keys(rule=ml.rules.sgd(0.1))


class Undescribed:
    """An estimator whose description has no settings."""

    def __init__(self):
        self._estimator = ml.estimators.checkpointed()

    def __getattr__(self, name):
        return getattr(self._estimator, name)

    def __call__(self, *arguments):
        return self._estimator(*arguments)


@pytest.mark.parametrize(
    "changes",
    [
        {"projection": lambda phi: phi},
        {"estimator": Undescribed()},
        {
            "loss": (lambda kept: lambda y, f: tf.reduce_mean(kept * (y - f) ** 2))(
                tf.random.normal([200, 5, 1])[:5]
            )
        },
    ],
    ids=["projection", "estimator without a description", "captured tensor"],
)
def test_what_cannot_be_recognised_is_not_stored(changes):
    """It is traced in every process, with the same results."""
    cache = {}
    changes = {**changes, "check_derivatives": False, "jit_compile": False}
    history = make(cache, **changes).run(2)
    assert not cache
    assert_equal(history, make(**changes).run(2))


def test_a_check_is_repeated_for_other_values_only(monkeypatch):
    """Its result is stored by operations, phi and the task; errors, and doubts, are not stored."""
    calls = []

    def checked(posed):
        calls.append(posed)
        return ml.problems.SecondDerivatives("float64", float("nan"), certain=len(calls) != 2)

    monkeypatch.setattr(stored, "check_second_derivatives", checked)
    cache = {}
    for seed, number in [(1, 1), (1, 1), (2, 2), (2, 3), (2, 3)]:  # the second call is in doubt
        found = make(cache, seed=seed).derivatives
        assert len(calls) == number
        assert found.precision == "float64"
        assert np.isnan(found.error)
    make(cache, seed=1, loss="mean_absolute_error")
    assert len(calls) == 4


def test_wrong_derivatives_are_refused_again():
    """The check of a loss with a wrong second derivative is not stored."""

    @tf.custom_gradient
    def wrong(x):
        return tf.square(x), lambda upstream: upstream * 2.0 * tf.stop_gradient(x)

    cache = {}
    for _ in range(2):
        with pytest.raises(ValueError, match="derivatives of the inner loss are wrong"):
            make(cache, loss=lambda targets, outputs: tf.reduce_mean(wrong(targets - outputs)))
    assert not cache


def squared(second):
    """Return a loss with a custom derivative of its custom derivative, which should be 2."""

    @tf.custom_gradient
    def slope(x):
        return 2.0 * x, lambda upstream: second * upstream

    @tf.custom_gradient
    def square(x):
        return x**2, lambda upstream: upstream * slope(x)

    return lambda targets, outputs: tf.reduce_mean(square(targets - outputs))


def test_a_second_derivative_that_is_not_seen_is_detected():
    """Operations and first derivatives are the same, so the program is; eager execution differs."""
    cache = {}
    make(cache, loss=squared(2.0)).run(1)
    trainer = make(cache, loss=squared(5.0))
    with pytest.raises(ValueError, match="differs from that of eager execution"):
        trainer.run(1)
    assert len(programs(cache)) == 1
