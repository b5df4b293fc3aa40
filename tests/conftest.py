"""Common settings of all tests: a quiet TensorFlow, and helpers as fixtures."""

import gc
import os
import signal

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["METALEARN_COMPILE_CACHE"] = "off"
os.environ.pop("WANDB_MODE", None)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what commands in other processes import is compiled once

import pytest

# A shell starts what runs in its background with SIGINT ignored; here it is to arrive.
signal.signal(signal.SIGINT, signal.default_int_handler)

# TensorFlow is imported where it is used: the process that hands the tests out to workers does without.


def pytest_collection_finish():
    """Exclude imported objects from garbage collection, and collect less often.

    There are many such objects: collection took a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)


@pytest.fixture(scope="session", autouse=True)
def one_stack_for_all_operations():
    """Give every operation of a graph the same stack trace, which saves a twelfth of the time of all tests.

    TensorFlow records the stack, which is deep under pytest, for every operation of a graph.
    """
    from tensorflow.python.util import tf_stack

    stack = tf_stack.extract_stack()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(tf_stack, "extract_stack", lambda stacklevel=1: stack)
        yield


@pytest.fixture(scope="session")
def as_float64():
    """Return a function that casts every leaf of a structure to float64."""
    import tensorflow as tf

    return lambda structure: tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.float64), structure)


@pytest.fixture(scope="session")
def as_vector():
    """Return a function that concatenates the leaves of a structure in NumPy, with ``axes`` leading axes."""
    import numpy as np
    import tensorflow as tf

    def join(structure, axes=0):
        leaves = [np.asarray(leaf) for leaf in tf.nest.flatten(structure)]
        return np.concatenate([leaf.reshape(*leaf.shape[:axes], -1) for leaf in leaves], axis=-1)

    return join


@pytest.fixture(scope="session")
def in_graph():
    """Return a function that wraps another one in a graph without XLA, so that no loop is traced twice."""
    import tensorflow as tf

    return lambda function: tf.function(function, autograph=False)


@pytest.fixture(scope="session")
def with_xla():
    """Return a function that compiles another one with XLA."""
    import tensorflow as tf

    return lambda function: tf.function(function, jit_compile=True, autograph=False)


@pytest.fixture(scope="session")
def sinusoids(as_float64):
    """Return three sinusoid tasks, 10 shots and 10 queries each, in float64."""
    import metalearn as ml

    return as_float64(ml.tasks.Sinusoid().sample((0, 7), 3))


@pytest.fixture(scope="session")
def compiles(tmp_path_factory):
    """Return a function that calls another one and returns whether XLA compiled anything.

    XLA's CPU compiler adds an event with this name to the trace of TensorFlow's profiler. Unlike counting
    traces, it shows programs that are compiled again because a value was treated as a constant.
    """
    import tensorflow as tf

    def observe(function):
        logs = tmp_path_factory.mktemp("trace")
        tf.profiler.experimental.start(str(logs))
        try:
            function()
        finally:
            tf.profiler.experimental.stop()
        (trace,) = logs.rglob("*.xplane.pb")
        return b"CpuCompiler::CompileCpuExecutable" in trace.read_bytes()

    return observe
