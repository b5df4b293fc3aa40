"""The choice of a mode by name, and its requirements for the model."""

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
from metalearn.nn.stateful import require_known_noise, require_silence, seeded_layers, statistic_keys

CHOICES = {
    "batch": "every call normalises with the statistics of its examples (transductive for queries)",
    "support": "queries are normalised with the statistics of the support at the same parameters",
    "moving": "queries are normalised with moving statistics, which inner steps update as Keras' fit does",
    "per_step": "as moving, with separate moving statistics for each inner step (MAML++)",
    "per_step_affine": "as per_step, also with a scale and shift for each step, which are not adapted",
}
"""The modes of models with batch statistics by name, with descriptions."""


def mode(name: str | None, model: keras.Model, steps: int) -> Mode:
    """Return the mode of a model.

    Args:
        name: a key of :data:`CHOICES` for a model with batch statistics, None for a model without.
        model: a built model.
        steps: K, the inner steps in meta-training, at least 0.

    Returns:
        A frozen record; see :class:`Batch`, :class:`Support`, :class:`Moving`, :class:`PerStep`,
        :class:`Plain`.

    Raises:
        ValueError: if the model has batch statistics but ``name`` is None, naming the layers and the choices;
            if a mode is given for a model without batch statistics; if the name is unknown; if no layer
            supports the mode; if layers draw random numbers also outside of training, or without a seed
            generator of their own.
    """
    require_count("steps", steps, minimum=0)
    if name is not None and name not in CHOICES:
        raise ValueError(f"statistics={name!r} is unknown:\n{_listed()}")
    require_known_noise(model)
    keys = tuple(statistic_keys(model))
    layers = ", ".join(dict.fromkeys(map(layer_of, keys)))
    if name is None and keys:
        raise ValueError(
            f"model {model.name!r} has batch statistics ({layers}), and results depend on how queries are "
            f"normalised: choose statistics=\n{_listed()}"
        )
    if name is not None and not keys:
        raise ValueError(
            f"statistics={name!r} was chosen, but no layer of model {model.name!r} updates batch statistics "
            "in training: omit it"
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
    """Return whether the derivatives of a mode's calls pass through moments of a batch.

    Second derivatives are then right only for layers like :class:`metalearn.layers.BatchNormalization`.
    """
    return not isinstance(mode, Plain)


def _listed() -> str:
    return "\n".join(f"  {name!r}: {meaning}" for name, meaning in CHOICES.items())
