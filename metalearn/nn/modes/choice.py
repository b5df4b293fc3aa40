"""The choice of a mode by name, and what it asks of the model."""

from __future__ import annotations

import keras

from metalearn.checks import require_count
from metalearn.nn import functional
from metalearn.nn.modes.batch import Batch
from metalearn.nn.modes.momenta import momenta
from metalearn.nn.modes.moving import Moving
from metalearn.nn.modes.per_step import PerStep
from metalearn.nn.modes.plain import Plain
from metalearn.nn.modes.protocol import Mode
from metalearn.nn.modes.support import Support
from metalearn.nn.names import layer_of
from metalearn.nn.stateful import require_silence, seeded_layers, statistic_keys

CHOICES = {
    "batch": "every call normalises with its own examples, queries with each other (transductive)",
    "support": "queries are normalised with the statistics of the support at the same parameters",
    "moving": "queries are normalised with moving statistics, which inner steps update as Keras' fit does",
    "per_step": "as moving, with moving statistics of its own for each inner step (MAML++)",
    "per_step_affine": "as per_step, with a scale and shift for each step, too, which no inner step moves",
}
"""The modes of models with batch statistics by name, and what each does."""


def mode(name: str | None, model: keras.Model, steps: int) -> Mode:
    """Return how a model is called in inner steps and on queries.

    Args:
        name: a key of :data:`CHOICES` for a model with batch statistics; None for one without, which has
            nothing to choose.
        model: a built model.
        steps: K, inner steps while meta-training, at least 0.

    Returns:
        A frozen record; see :class:`Batch`, :class:`Support`, :class:`Moving`, :class:`PerStep`,
        :class:`Plain`.

    Raises:
        ValueError: if the model has batch statistics and no mode is named, naming the layers and the
            choices; if a mode is named and the model has none; if the name is not known; if the mode asks
            for what no layer has; if layers draw random numbers also outside of training.
    """
    require_count("steps", steps, minimum=0)
    if name is not None and name not in CHOICES:
        raise ValueError(f"statistics={name!r} is not known:\n{_listed()}")
    keys = tuple(statistic_keys(model))
    layers = ", ".join(dict.fromkeys(map(layer_of, keys)))
    if name is None and keys:
        raise ValueError(
            f"model {model.name!r} has batch statistics ({layers}), and results depend on what normalises "
            f"the queries: choose statistics=\n{_listed()}"
        )
    if name is not None and not keys:
        raise ValueError(
            f"statistics={name!r} was chosen, but no layer of model {model.name!r} updates batch statistics "
            "in training: leave it out"
        )
    if name is None:
        return Plain(seeded=bool(seeded_layers(model)))
    require_silence(model)
    if name == "support":
        return Support(momenta(model, keys))
    if name == "moving":
        return Moving(keys)
    if name == "batch":
        return Batch()
    return PerStep(keys, steps, _affine(model, keys) if name == "per_step_affine" else ())


def _affine(model: keras.Model, statistics: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys of the trainable parameters of layers with moving statistics."""
    layers = {layer_of(key) for key in statistics}
    keys = tuple(key for key in functional.parameters(model) if layer_of(key) in layers)
    if not keys:
        raise ValueError(
            f"statistics='per_step_affine': {', '.join(sorted(layers))} of model {model.name!r} have neither "
            "a scale nor a shift: choose 'per_step'"
        )
    return keys


def needs_exact(mode: Mode) -> bool:
    """Return whether derivatives of a mode's calls go through moments of a batch.

    Second derivatives are then right only with layers that have them, such as
    :class:`metalearn.layers.BatchNormalization`.
    """
    return not isinstance(mode, Plain)


def _listed() -> str:
    return "\n".join(f"  {name!r}: {meaning}" for name, meaning in CHOICES.items())
