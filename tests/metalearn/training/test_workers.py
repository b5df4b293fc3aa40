"""Tasks that are divided among workers: the results equal those of one process."""

import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.random import normal
from metalearn.training.sharded import Sharded
from metalearn.training.workers import Workers

TASKS, ITERATIONS = 6, 3


def crew(count):
    """Return workers that are threads of this process, and add in their order."""
    given, barrier = [None] * count, threading.Barrier(count, timeout=300)

    def of_one(index):
        def all_reduce(tensor):
            given[index] = tensor
            barrier.wait()
            total = tf.add_n(given)
            barrier.wait()
            return total

        return Workers(index, count, all_reduce)

    return [of_one(index) for index in range(count)]


def at_once(*functions):
    """Return the results of functions that are called in separate threads."""
    with ThreadPoolExecutor(len(functions)) as pool:
        return [each.result() for each in [pool.submit(function) for function in functions]]


def drawn(seed, tasks):
    rng = np.random.default_rng([*seed])
    return [(rng.normal(size=(tasks, 5, 2)), rng.normal(size=(tasks, 5, 1))) for _ in range(2)]


def trainer(learner, workers=None, **arguments):
    """Return a trainer in float64, without XLA unless it is asked for."""
    source, optimizer = ml.tasks.from_function(drawn, dtype="float64"), keras.optimizers.SGD(0.125)
    arguments = {"jit_compile": False, "check_derivatives": False, "loss_interval": 2, **arguments}
    return ml.MetaTrainer(learner, source, optimizer, TASKS, workers=workers, **arguments)


def linear():
    """Return a learner that starts at phi and noise: it descends one step on a task's means."""

    def loss(theta, data):
        return tf.reduce_mean(tf.square(data[1] - tf.reduce_sum(data[0] * theta["w"], -1, keepdims=True)))

    problem = ml.BilevelProblem(
        start=lambda phi, task: {"w": phi + task.support.noise},
        inner_loss=lambda theta, phi, batch, model: loss(theta, batch.examples),
        outer_loss=lambda theta, phi, task, model: loss(theta, task.query),
        rule=ml.rules.sgd(0.1),
        steps=1,
    )
    noise = lambda seed, count: normal([count, 2], seed, tf.float64)  # noqa: E731
    return ml.BilevelLearner(problem, start=tf.constant([0.3, -0.2], tf.float64), noise=noise)


def network(*layers, estimator=None, **learning):
    """Return a learner of a small network."""
    dense = [keras.layers.Dense(3, "tanh", dtype="float64"), *layers, keras.layers.Dense(1, dtype="float64")]
    model = keras.Sequential([keras.Input([2], dtype="float64"), *dense])
    estimator = estimator or ml.estimators.checkpointed()
    return ml.MetaLearner(model, "mse", ml.rules.momentum(0.1, 0.5), 2, estimator=estimator, **learning)


def trained(trainer):
    """Return histories and states of a training in two calls, with a preview of the next update between."""
    with trainer.together() as leads:
        if leads:
            trainer.compare()
            history = trainer.run(ITERATIONS - 1)
            trainer.load(tf.nest.map_structure(lambda leaf: leaf / 2, trainer.meta))  # others need not know
            following, _ = trainer.next_update()
            last = trainer.run(1)
            joined = {name: np.concatenate([history[name], last[name]]) for name in history}
            return joined, trainer.state(), following
    return trainer.state()


def assert_close(found, expected, tolerance):
    """Check that arrays by name are equal up to a tolerance relative to their largest entry."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        scale = np.max(np.abs(values), initial=0.0, where=np.isfinite(values))
        np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance * scale, err_msg=name)


def evolution():
    return ml.estimators.evolution(0.1, 2)


def annealed():
    return ml.estimators.annealed(first=evolution(), then=ml.estimators.checkpointed(), iterations=4)


def persistent():
    return ml.estimators.persistent_evolution(0.1, 2, 2)


def implicit():
    return ml.estimators.implicit(iterations=3, damping=1.0, warm_start=True)


def dropout():
    return keras.layers.Dropout(0.5, dtype="float64")


def normalization():
    return ml.layers.BatchNormalization(dtype="float64")


CASES = {
    # Noise is drawn for the whole meta-batch; clipping is by task; the mean is over all of them.
    "linear": (linear, {"clip_task_norm": 0.1}),
    "dropout": (lambda: network(dropout()), {}),
    "carry": (network, {"carry": 2, "clip_task_value": 0.01}),
    "statistics": (lambda: network(normalization(), statistics="moving"), {}),
    "evolution": (lambda: network(estimator=evolution()), {}),
    "annealed": (lambda: network(estimator=annealed()), {}),
    "persistent": (lambda: network(estimator=persistent()), {}),
    "implicit": (lambda: network(estimator=implicit(), proximal=2.0), {}),
    "xla": (network, {"jit_compile": None, "check_derivatives": True}),
}


@pytest.mark.parametrize(
    ("name", "count"),
    [("linear", 2), *(pytest.param(name, 3, marks=pytest.mark.slow) for name in CASES if name != "linear")],
)
def test_workers_find_what_one_finds(name, count):
    """Divided among workers, metrics agree to 1e-6 and states to 1e-13, and all workers' states are equal."""
    learner, settings = CASES[name][0](), CASES[name][1]
    history, state, following = trained(trainer(learner, **settings))
    leader, *others = (trainer(learner, each, **settings) for each in crew(count))
    found, *states = at_once(*(lambda each=each: trained(each) for each in (leader, *others)))
    assert_close(found[0], history, 1e-6)
    own = {name: values for name, values in found[1].items() if "estimator" in name}  # one for each worker
    assert_close({**found[1], **own}, {**state, **own}, 1e-13)
    assert all(len(values) == count for values in own.values())
    expected, again = (tf.nest.flatten(each) for each in (following, found[2]))
    for one, two in zip(expected, again, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-13)
    for other in states:
        for name, values in other.items():
            np.testing.assert_array_equal(values, found[1][name], err_msg=name)


@pytest.mark.parametrize(
    "name", ["linear", *(pytest.param(name, marks=pytest.mark.slow) for name in CASES if name != "linear")]
)
def test_stored_halves_have_the_bits_of_traced_ones(monkeypatch, name):
    """Two for each worker, which are not traced again; what is carried and learned is in their arguments."""
    learner, settings = CASES[name]
    cache = {}

    def bits():
        trainers = [trainer(learner(), each, **settings, cache=cache) for each in crew(2)]
        at_once(*(lambda each=each: trained(each) for each in trainers))
        return [each.state() for each in trainers]

    expected = bits()
    assert len([key for key in cache if key.startswith("program")]) == 4
    for half in ("_trace_find", "_trace_move"):
        monkeypatch.setattr(Sharded, half, lambda *_: pytest.fail("a half is traced"))
    for one, two in zip(bits(), expected, strict=True):
        for key, values in two.items():
            np.testing.assert_array_equal(one[key], values, err_msg=key)


def test_the_state_is_sent_only_if_it_is_another_one():
    """After another value of phi, but not between calls, whose workers only exchange digests of it."""
    chief, other = crew(2)
    exchanged = []

    def recorded(tensor):
        exchanged.append(tensor.dtype)
        return chief.all_reduce(tensor)

    leader, follower = (trainer(linear(), each) for each in (Workers(0, 2, recorded), other))

    def lead():
        found = []
        with leader.together():
            for change in (0.0, 0.0, 1.0, 0.0):
                if change:
                    leader.load(leader.meta + change)
                exchanged.clear()
                leader.run(1)
                found.append(exchanged.count(tf.int32))
        return found

    sent, _ = at_once(lead, lambda: trained(follower))
    assert sent == [1, 1, 2, 1]


def test_what_cannot_be_shared_is_said():
    with pytest.raises(ValueError, match=r"meta_batch_size=6 cannot be divided by workers=4.*such as 4 or 8"):
        trainer(linear(), Workers(0, 4))
    with pytest.raises(ValueError, match=r"meta_batch_size=1 cannot be divided by workers=2.*such as 2"):
        Workers(0, 2).share(1)


def test_bits_stay_as_they_are():
    """Exchanged arrays keep their bits, also -0.0, NaN with its payload, and other types."""
    odd = np.array([-0.0, np.nan, 1e-45, np.inf], np.float32)
    odd.view(np.uint32)[1] |= 7
    arrays = [odd, np.array([True, False, True]), np.array(3, np.int8), np.zeros([0, 2])]
    zeros = [np.zeros_like(each) for each in arrays]
    chief, other = crew(2)
    for found in at_once(lambda: chief.from_chief(arrays), lambda: other.from_chief(zeros)):
        for array, again in zip(arrays, found, strict=True):
            assert (array.tobytes(), array.shape, array.dtype) == (again.tobytes(), again.shape, again.dtype)
    for found in at_once(lambda: chief.gathered(zeros[:1]), lambda: other.gathered(arrays[:1])):
        assert found[0].tobytes() == zeros[0].tobytes() + odd.tobytes()


def test_other_settings_are_found():
    def agreed(workers, value):
        try:
            return workers.require_equal("trainer", value)
        except ValueError as error:
            return str(error)

    said = at_once(*(lambda each=each: agreed(each, str(each.index == 1)) for each in crew(3)))
    assert said[0].startswith("worker 1 has another trainer than the chief: start all 3")
    assert len(set(said)) == 1


def test_a_lost_worker_is_said():
    def lost(_):
        raise tf.errors.UnavailableError(None, None, "Socket closed")

    with pytest.raises(ml.WorkerLostError, match=r"worker 1 of 2 .* one has ended.*resume from the last"):
        Workers(1, 2, lost).from_chief([np.zeros(1)])
    with pytest.raises(ValueError, match="has not joined its workers"):
        Workers(1, 2).from_chief([np.zeros(1)])


def test_a_cluster_is_needed(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=r"workers need a cluster .*TF_CONFIG="):
        ml.workers.join()
    monkeypatch.setenv(
        "TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}'
    )
    with pytest.raises(ValueError, match="before any other use of TensorFlow"):
        ml.workers.join()

    def in_use(cluster_resolver):
        raise tf.errors.UnknownError(None, None, "Could not start gRPC server")

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", in_use)
    with pytest.raises(ValueError, match=r"worker 1 cannot listen at b:2 \(Could not .*end the process"):
        ml.workers.join()
