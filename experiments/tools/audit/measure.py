"""Second derivatives of one case in both modes, compared with differences, and the map over tasks."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import config as tensorflow_config

import metalearn as ml
from metalearn.autodiff.failures import UNCOMPILED
from metalearn.autodiff.gradients import dense
from metalearn.autodiff.products import MODES
from metalearn.types import Structure

from .cases import Case

EXACT, WRONG, NONE = "exact", "wrong", "none"
"""Results for second derivatives: correct, different from differences of the gradient, or missing."""

TOLERANCE = {"float64": 1e-6, "float32": 1e-3}
"""Largest relative error that counts as exact."""

STEP = {"float64": 1e-3, "float32": 2.0**-4}
"""Step of the finite differences; with a wider step, rounding has less effect."""


class Row(NamedTuple):
    """The measurements of a case.

    Attributes:
        case: what was measured.
        error: of Hessian-vector products by inputs and weights, relative, the larger of the two modes.
        missing: what has no derivative, or ``""``.
        unmapped: why ``tf.vectorized_map`` fails over tasks, or ``""``.
        map_error: relative difference between products that are mapped and those that are not.
        flagged: whether ``metalearn.layers.inexact_layers`` names the layer.
    """

    case: Case
    error: float
    missing: str
    unmapped: str
    map_error: float
    flagged: bool

    @property
    def verdict(self) -> str:
        """``EXACT``, ``WRONG`` or ``NONE``."""
        if self.missing:
            return NONE
        # Written so that NaN is wrong.
        return EXACT if self.error <= TOLERANCE[precision(self.case)] else WRONG

    @property
    def mapped(self) -> bool:
        """Whether ``tf.vectorized_map`` gives the products of each task."""
        return not self.missing and not self.unmapped and self.map_error <= TOLERANCE["float64"]


def precision(case: Case) -> str:
    """Return the floating-point type in which a case is measured."""
    return "float32" if case.single else "float64"


def measure(case: Case) -> Row:
    """Measure ``sum(sin(outputs + constants))``, which bends also where a layer is linear.

    Args:
        case: of float64 unless ``single``; differences are taken in float64 in either case.

    Returns:
        The row of the table; the same in every process.
    """
    random = np.random.default_rng(0)
    with computing_in(precision(case)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated arguments are audited as long as they work
        function, x, flagged = _function_and_point(case, random)
        outputs = function(x)
        constants = random.normal(size=outputs.shape)

        def scalar(x: Structure) -> tf.Tensor:
            return tf.reduce_sum(tf.sin(tf.cast(function(x), tf.float64) + constants))

        v = tf.nest.map_structure(lambda leaf: tf.constant(random.uniform(-1, 1, leaf.shape)), x)
        try:
            numeric, _ = ml.derivatives.central_differences(
                lambda x: _gradient(scalar, x), x, v, STEP[precision(case)]
            )
            products = [ml.derivatives.hvp(scalar, x, v, mode) for mode in MODES]
        except (ValueError, LookupError) as raised:
            return Row(case, np.nan, operation_of(raised), "", np.nan, flagged)
        size = norm(numeric)
        error = float(np.max([distance(product, numeric) / size for product in products]))  # or NaN
        unmapped, map_error = _mapped(scalar, x, v, products[0])
        return Row(case, error, "", unmapped, map_error, flagged)


def _function_and_point(
    case: Case, random: np.random.Generator
) -> tuple[Callable[[Structure], tf.Tensor], Structure, bool]:
    """Return a case as a function of nested float64 tensors, its arguments, and whether it is flagged."""
    drawn = [draw(random) for draw in case.inputs]
    real = [np.issubdtype(array.dtype, np.floating) for array in drawn]
    x = {"inputs": [tf.constant(array) for array, is_real in zip(drawn, real, strict=True) if is_real]}
    call, flagged = case.function, False
    if case.is_layer:
        types = [keras.config.floatx() if is_real else "int64" for is_real in real]
        symbols = [
            keras.Input(array.shape[1:], batch_size=array.shape[0], dtype=dtype)
            for array, dtype in zip(drawn, types, strict=True)
        ]
        model = keras.Model(symbols, case.function(*symbols))
        flagged = bool(ml.layers.inexact_layers(model))
        x["parameters"] = tf.nest.map_structure(
            lambda value: tf.cast(value, tf.float64) + 0.1 * random.normal(size=value.shape),
            ml.functional.initialize(model, 0),
        )
        call = _of_model(model, random)

    def function(x: Structure) -> tf.Tensor:
        leaves = iter(x["inputs"])
        inputs = [
            tf.cast(next(leaves), keras.config.floatx()) if is_real else tf.constant(array)
            for array, is_real in zip(drawn, real, strict=True)
        ]
        return call(*inputs, **{"parameters": x["parameters"]} if case.is_layer else {})

    return function, x, flagged


def _of_model(model: keras.Model, random: np.random.Generator) -> Callable[..., tf.Tensor]:
    """Return the training-mode outputs as a function of inputs and parameters, with random statistics."""
    state = {
        key: tf.constant(random.uniform(0.5, 1.5, value.shape), value.dtype)
        if value.dtype.is_floating
        else value
        for key, value in ml.functional.state(model).items()
    }

    def call(*inputs: tf.Tensor, parameters: Structure) -> tf.Tensor:
        parameters = tf.nest.map_structure(lambda value: tf.cast(value, keras.config.floatx()), parameters)
        given = inputs[0] if len(inputs) == 1 else list(inputs)
        return ml.functional.apply(model, parameters, given, state=state, training=True)

    return call


def _gradient(function: Callable[[Structure], tf.Tensor], x: Structure) -> Structure:
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return dense(tape.gradient(value, x))


def _mapped(
    function: Callable[[Structure], tf.Tensor], x: Structure, v: Structure, product: Structure
) -> tuple[str, float]:
    """Return why products cannot be mapped over two tasks, or ``""`` and the error of mapped products.

    Forward over reverse is tried first, reverse over reverse where that fails.
    """
    other = tf.nest.map_structure(lambda leaf, along: leaf + 0.01 * along, x, v)
    tasks = tf.nest.map_structure(lambda *leaves: tf.stack(leaves), x, other)
    expected = tf.nest.map_structure(
        lambda *leaves: tf.stack(leaves), product, ml.derivatives.hvp(function, other, v, MODES[0])
    )
    reason = ""
    for mode in MODES:
        of_one_task = tf.autograph.experimental.do_not_convert(
            lambda x, mode=mode: ml.derivatives.hvp(function, x, v, mode)
        )
        with silenced():
            try:
                mapped = tf.vectorized_map(of_one_task, tasks, fallback_to_while_loop=False)
            except (ValueError, TypeError, NotImplementedError, LookupError) as error:
                reason = reason or obstacle(error)
            else:
                size = norm(expected)
                return "", distance(mapped, expected) / size if size else 0.0
    return reason, np.nan


def obstacle(error: BaseException) -> str:
    """Return a short text on why tasks cannot be mapped."""
    text = str(error)
    differing = re.search(r"Input \"(\w+)\" of op '(\w+)' expected to be (not )?loop invariant", text)
    if differing:
        return f"{differing[2]}, its {differing[1]} differing by task"
    unknown = re.search(r"No pfor vectorization defined for (\w+)", text)
    if unknown:
        return unknown[1]
    missing = re.search(r"operation (\w+) has no derivative", text)
    if missing:
        return f"{missing[1]} has no derivative"
    uncompiled = UNCOMPILED.search(text)
    if uncompiled:
        return f"XLA has no {uncompiled[1]} in this type"
    if "while_loop" in text or "variant" in text or "handle data" in text:
        return "a loop or branch in the graph"
    return text.strip().splitlines()[-1].strip()


def operation_of(error: BaseException) -> str:
    """Return the name of the operation without a derivative."""
    named = re.search(r"operation (\w+) has no|no entry for: (\w+)", str(error))
    return next(filter(None, named.groups())) if named else str(error).partition("\n")[0]


def distance(left: Structure, right: Structure) -> float:
    return norm(tf.nest.map_structure(tf.subtract, left, right))


def norm(structure: Structure) -> float:
    return float(tf.linalg.global_norm(tf.nest.flatten(structure)))


@contextmanager
def computing_in(dtype: str) -> Iterator[None]:
    """Let Keras build layers of a type, with TensorFlow's default settings; restore settings afterwards."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    deterministic = tensorflow_config.is_op_determinism_enabled()
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    # With it on, TensorFlow computes some functions otherwise, and rightly: softmax cross-entropy.
    tensorflow_config.disable_op_determinism()
    try:
        yield
    finally:
        if deterministic:
            tensorflow_config.enable_op_determinism()
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


@contextmanager
def silenced() -> Iterator[None]:
    """Prevent TensorFlow from logging the operations that it cannot map."""
    logger: Any = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
