"""Meta-gradients through pooling after two inner steps, in every kind of program that maps tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import metalearn as ml
from metalearn.execution.task_map import map_tasks
from metalearn.types import Parameters, Structure

from .measure import computing_in, distance, norm, obstacle, silenced

TASKS, EXAMPLES, SIZE, FILTERS, STEPS, RATE = 2, 3, 9, 6, 2, 0.2

MAX_POOLING = "keras.layers.MaxPooling2D"

POOLINGS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    MAX_POOLING: lambda x: keras.layers.MaxPooling2D(2)(x),
    "tf.math.reduce_max (of patches)": lambda x: tf.reduce_max(_patches(x), [2, 4]),
    "tf.maximum (of halves)": lambda x: _halves(_halves(x, 1), 2),
    "metalearn.layers.MaxPooling2D": lambda x: ml.layers.MaxPooling2D(2)(x),
    "metalearn.layers.MaxPooling2D (overlapping)": lambda x: ml.layers.MaxPooling2D(3, 2, "same")(x),
    "keras.layers.AveragePooling2D": lambda x: keras.layers.AveragePooling2D(2)(x),
    "keras.layers.GlobalMaxPooling2D": lambda x: keras.layers.GlobalMaxPooling2D()(x),
    "keras.layers.GlobalAveragePooling2D": lambda x: keras.layers.GlobalAveragePooling2D()(x),
}
"""Poolings of images ``[N, height, width, channels]``."""

CASES = [(name, "float64") for name in POOLINGS] + [(MAX_POOLING, "float32")]
"""Poolings by type: XLA has no second derivative of Keras' max-pooling in float64."""

TOLERANCE = {"float64": 1e-6, "float32": 1e-4}
"""Largest relative error that counts as exact."""

PROGRAMS = {"graph": False, "XLA": True}
"""Ways to map tasks, and whether XLA compiles them."""

Step = Callable[[Structure, Parameters], tuple[tf.Tensor, Parameters]]
"""The loss after the inner steps and its gradient, as a function of data and initial parameters."""


class Pooled(NamedTuple):
    """The relative errors of meta-gradients.

    Attributes:
        name: of the pooling.
        precision: the type that it was computed in.
        eager: one task after the other, in float64 against differences of the meta-loss.
        mapped: by program, against the eager ones in float64; a reason where there are none.
    """

    name: str
    precision: str
    eager: float
    mapped: dict[str, float | str]

    def is_exact(self, error: float | str) -> bool:
        """Return whether an error counts as zero; NaN and texts do not."""
        return not isinstance(error, str) and error <= TOLERANCE[self.precision]


def measure_pooling(name: str, precision: str) -> Pooled:
    """Measure a convolution, normalisation and pooling, learned on two tasks.

    Args:
        name: in ``POOLINGS``.
        precision: ``"float64"`` or ``"float32"``.

    Returns:
        The row of the table; the same in every process.
    """
    pooling = POOLINGS[name]
    with computing_in("float64"):
        step, data, phi = _problem(pooling, tf.float64)
        expected = _one_by_one(step, data, phi)
        eager = _against_differences(step, data, phi, expected)
    mapped: dict[str, float | str] = {}
    with computing_in(precision):
        step, data, phi = _problem(pooling, tf.as_dtype(precision))
        if precision != "float64":
            eager = _off(_one_by_one(step, data, phi), expected)
        for label, jit_compile in PROGRAMS.items():
            program = tf.function(
                lambda data, phi, step=step: map_tasks(lambda *task: step(*task)[1], data, phi),
                jit_compile=jit_compile,
                autograph=False,
            )
            with silenced():
                try:
                    mapped[label] = _off(program(data, phi), expected)
                except (ValueError, TypeError, NotImplementedError, LookupError, tf.errors.OpError) as error:
                    mapped[label] = obstacle(error)
    return Pooled(name, precision, eager, mapped)


def _problem(
    pooling: Callable[[tf.Tensor], tf.Tensor], dtype: tf.DType
) -> tuple[Step, Structure, Parameters]:
    """Return the step, data ``[T, ...]`` and initial parameters ``[T, ...]``, equal for all tasks."""
    random = np.random.default_rng(0)
    pooled = pooling(tf.zeros([EXAMPLES, SIZE - 1, SIZE - 1, FILTERS], dtype))
    features = int(np.prod(pooled.shape[1:]))
    weights = {
        "filters": random.normal(size=(4, FILTERS)) * np.sqrt(2 / 4),
        "bias": np.zeros(FILTERS),
        "scale": np.ones(FILTERS),
        "shift": np.zeros(FILTERS),
        "output": random.normal(size=(features, EXAMPLES)) / np.sqrt(features),
    }
    images = random.random(size=(2, TASKS, EXAMPLES, SIZE, SIZE))
    data = tuple(tf.constant(each, dtype) for each in images)
    phi = {key: tf.constant(np.stack([value] * TASKS), dtype) for key, value in weights.items()}

    def loss(parameters: Parameters, images: tf.Tensor) -> tf.Tensor:
        x = _convolved(images, parameters["filters"]) + parameters["bias"]
        centred = x - tf.reduce_mean(x, [0, 1, 2])
        scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), [0, 1, 2]) + 1e-3) * parameters["scale"]
        x = tf.nn.relu(centred * scale + parameters["shift"])
        outputs = tf.reshape(pooling(x), [EXAMPLES, features]) @ parameters["output"]
        return ml.losses.cross_entropy(np.arange(EXAMPLES), outputs)

    def step(data: Structure, phi: Parameters) -> tuple[tf.Tensor, Parameters]:
        def after(phi: Parameters) -> tf.Tensor:
            adapted = phi
            for _ in range(STEPS):
                _, slope = ml.derivatives.value_and_gradient(lambda each: loss(each, data[0]), adapted)
                adapted = {key: value - RATE * slope[key] for key, value in adapted.items()}
            return loss(adapted, data[1])

        return ml.derivatives.value_and_gradient(after, phi)

    return step, data, phi


def _against_differences(step: Step, data: Structure, phi: Parameters, gradients: Parameters) -> float:
    """Return the error of the first task's gradient along a direction."""
    random = np.random.default_rng(1)
    first, start, gradient = (
        tf.nest.map_structure(lambda leaf: leaf[0], each) for each in (data, phi, gradients)
    )
    v = tf.nest.map_structure(lambda leaf: tf.constant(random.uniform(-1, 1, leaf.shape)), start)
    numeric, _ = ml.derivatives.central_differences(lambda phi: step(first, phi)[0], start, v, 1e-5)
    product = sum(float(tf.reduce_sum(gradient[key] * v[key])) for key in v)
    return abs(product - float(numeric)) / abs(float(numeric))


def _one_by_one(step: Step, data: Structure, phi: Parameters) -> Parameters:
    """Return the gradients of all tasks, computed one after the other without a graph."""
    tasks = [tf.nest.map_structure(lambda leaf, t=t: leaf[t], (data, phi)) for t in range(TASKS)]
    return tf.nest.map_structure(lambda *leaves: tf.stack(leaves), *(step(*task)[1] for task in tasks))


def _off(gradients: Parameters, expected: Parameters) -> float:
    wide = tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.float64), gradients)
    return distance(wide, expected) / norm(expected)


def _convolved(images: tf.Tensor, filters: tf.Tensor) -> tf.Tensor:
    """Return a 2 x 2 convolution of one channel, as slices: TensorFlow's own cannot be mapped.

    XLA compiles its sums of products into whatever uses them, with other roundings in each, so that a
    search for the entry that equals the maximum fails.
    """
    inner = SIZE - 1
    slices = (images[:, i : i + inner, j : j + inner, None] for i in range(2) for j in range(2))
    products = (tf.tensordot(each, filters[k : k + 1], 1) for k, each in enumerate(slices))
    return functools.reduce(tf.add, products)


def _patches(x: tf.Tensor) -> tf.Tensor:
    count, height, width, channels = x.shape
    return tf.reshape(x, [count, height // 2, 2, width // 2, 2, channels])


def _halves(x: tf.Tensor, axis: int) -> tf.Tensor:
    shape = x.shape.as_list()
    paired = tf.reshape(x, [*shape[:axis], shape[axis] // 2, 2, *shape[axis + 1 :]])
    return functools.reduce(tf.maximum, tf.unstack(paired, axis=axis + 1))
