"""Activations and losses, a case for each; losses are functions of real targets and outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras

import metalearn as ml

from .cases import Case, Draw, integers, normal, one_hot, probabilities, signs

UTILITIES = ("deserialize", "get", "serialize")
"""Functions in ``keras.activations`` and ``keras.losses`` that compute nothing."""

ARGUMENTS: dict[str, dict[str, Any]] = {"threshold": {"threshold": 0.3, "default_value": 0.1}}
"""Arguments that an activation requires."""

ROWS, LABELS = normal(4, 3), integers(4, below=3)
REAL, LIKELY, SIGNED = (ROWS, ROWS), (probabilities(4, 3), probabilities(4, 3)), (signs(4, 3), ROWS)
LOGITS = (probabilities(4, 3), ROWS)

LOSSES: dict[str, tuple[Draw, Draw]] = {
    "binary_crossentropy": LIKELY,
    "binary_crossentropy (logits)": LOGITS,
    "binary_focal_crossentropy": LIKELY,
    "binary_focal_crossentropy (logits)": LOGITS,
    "categorical_crossentropy": LIKELY,
    "categorical_crossentropy (logits)": (one_hot(4, 3), ROWS),
    "categorical_crossentropy (logits, soft targets)": REAL,
    "categorical_focal_crossentropy": LIKELY,
    "categorical_focal_crossentropy (logits)": LOGITS,
    "categorical_generalized_cross_entropy": (LABELS, probabilities(4, 3)),
    "categorical_hinge": LOGITS,
    "circle": (lambda random: random.permutation([0, 0, 1, 1, 2, 2]), probabilities(6, 4)),
    "cosine_similarity": REAL,
    "ctc": (integers(2, 3, start=1, below=5), normal(2, 8, 6)),
    "dice": LIKELY,
    "hinge": SIGNED,
    "huber": REAL,
    "kl_divergence": LIKELY,
    "log_cosh": REAL,
    "mean_absolute_error": REAL,
    "mean_absolute_percentage_error": LIKELY,
    "mean_squared_error": REAL,
    "mean_squared_logarithmic_error": LIKELY,
    "poisson": LIKELY,
    "sparse_categorical_crossentropy": (LABELS, probabilities(4, 3)),
    "sparse_categorical_crossentropy (logits)": (LABELS, ROWS),
    "squared_hinge": SIGNED,
    "tversky": LIKELY,
}

# A milder gamma than the default of 80, with which derivatives are as large as 1e5.
LOSS_ARGUMENTS: dict[str, dict[str, Any]] = {
    "categorical_generalized_cross_entropy": {"q": 0.5},
    "circle": {"gamma": 2.0},
}

SINGLE = ("ctc",)
"""Losses that TensorFlow computes in float32 alone."""


def functions_of(module: Any) -> dict[str, Callable[..., Any]]:
    """Return the public functions of a module of Keras that compute something, each once."""
    found: dict[str, Callable[..., Any]] = {}
    for name, value in sorted(vars(module).items()):
        public = inspect.isfunction(value) and not name.startswith("_") and name not in UTILITIES
        if public and value not in found.values():
            found[name] = value
    return found


def activations() -> Iterator[Case]:
    """Yield every activation of Keras, and ours."""
    for name, function in functions_of(keras.activations).items():
        function = partial(function, **ARGUMENTS.get(name, {}))
        yield Case(name, "activation", function, (normal(4, 6),))
    yield Case("metalearn.layers.softsign", "activation", ml.layers.softsign, (normal(4, 6),))


def losses() -> Iterator[Case]:
    """Yield every loss of Keras."""
    for name, inputs in LOSSES.items():
        keras_name, _, special = name.partition(" ")
        arguments = dict(LOSS_ARGUMENTS.get(keras_name, {}))
        if "logits" in special:
            arguments["from_logits"] = True
        function = partial(getattr(keras.losses, keras_name), **arguments)
        if "soft targets" in special:
            function = partial(_of_soft_targets, function)
        yield Case(name, "loss", function, inputs, single=keras_name in SINGLE)


def _of_soft_targets(loss: Callable[..., Any], scores: Any, outputs: Any) -> Any:
    """Return the loss of targets that are a softmax, because TensorFlow requires rows with the sum 1."""
    return loss(keras.ops.softmax(scores), outputs)
