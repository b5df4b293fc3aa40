"""A Keras model as a pure function of its parameters.

A gradient tape does not record ``variable.assign_sub(rate * gradient)``, so nothing can be differentiated
through such an update. Here parameters are tensors in a dictionary, and a model is a function of them.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import NamedTuple

import keras
import tensorflow as tf

from metalearn.nn import initialization
from metalearn.nn.names import NamedVariable, named_variables
from metalearn.nn.precision import in_double, needs_double
from metalearn.nn.seeds import generator_keys, generator_states, silenced
from metalearn.types import Parameters, Structure

_ALONE = threading.RLock()
"""Held during calls: disabled layers and layers in double precision are changed for the time of a call."""


def parameters(model: keras.Model) -> Parameters:
    """Return the model's trainable variables as tensors, keyed by their paths inside the model.

    Keys are unique within a model and the same in every process: user-defined layer names are kept, and names
    of the form that Keras generates (``dense_7``) are numbered by their order in the model (``dense``,
    ``dense_1``). See :mod:`metalearn.nn.names`.

    Raises:
        ValueError: if the model has not been built.
    """
    return _values(model, trainable=True)


def state(model: keras.Model) -> Parameters:
    """Return the non-trainable variables (moving statistics, random seeds), keyed as :func:`parameters`."""
    return _values(model, trainable=False)


def initialize(model: keras.Model, seed: int) -> Parameters:
    """Draw initial parameters from the initializers of the variables, as a pure function of ``seed``.

    Args:
        model: a built model; its current values are not used.
        seed: at least 0.

    Returns:
        Parameters keyed as :func:`parameters`, the same in every process.

    Raises:
        ValueError: if a variable's initializer cannot be found or does not depend on the seed only, naming
            the variable and the remedy.
    """
    return initialization.draw(model, seed)


def call(
    model: keras.Model,
    parameters: Parameters,
    inputs: Structure,
    *,
    state: Parameters | None = None,
    training: bool = False,
    noise: tf.Tensor | None = None,
) -> tuple[Structure, tf.Tensor | None, Parameters]:
    """Return ``model(inputs)`` with ``parameters`` in place of its variables, its losses and its next state.

    The model is not changed, and threads may call it at the same time. If the parameters are in float64, the
    call is computed in float64 for any dtype of the model. Layers with a ``keras.random.SeedGenerator``
    (dropout, noise, augmentation) are functions of ``noise``; without it they are called with
    ``training=False``, independently of other layers.

    Args:
        model: any built Keras model.
        parameters: all trainable variables, keyed as :func:`parameters`.
        inputs: ``[N, *input_shape]``, or lists and dicts of them, as required by the model.
        state: the non-trainable values, keyed as :func:`state`; the model's own by default.
        training: Keras' flag for dropout and batch statistics.
        noise: a seed, ``[2]`` integers; equal seeds give equal bits.

    Returns:
        The outputs; the sum of the model's losses (weight and activity regularisers, ``add_loss``), a scalar,
        or None if it has none; and the non-trainable values after the call, in which the states of seed
        generators are unchanged.

    Raises:
        ValueError: if keys are missing or unknown, or the model has not been built.
    """
    before = _values(model, trainable=False) if state is None else state
    drawn = {} if noise is None else generator_states(model, noise)
    off = silenced(model) if training and noise is None else nullcontext()
    with _ALONE, off:
        called = _call(model, model, parameters, inputs, {**before, **drawn}, training)
    seeds = {key: before[key] for key in generator_keys(model)}
    losses = [*called.losses, *_penalties(model, parameters)]
    return called.outputs, _total(losses), {**called.state, **seeds}


def apply(
    model: keras.Model,
    parameters: Parameters,
    inputs: Structure,
    *,
    state: Parameters | None = None,
    training: bool = False,
) -> Structure:
    """Return the outputs only; unlike in :func:`call`, random layers use their seeds in ``state``.

    The arguments and errors are those of :func:`call`.
    """
    return apply_with_state(model, parameters, inputs, state=state, training=training)[0]


def apply_with_state(
    model: keras.Model,
    parameters: Parameters,
    inputs: Structure,
    *,
    state: Parameters | None = None,
    training: bool = False,
) -> tuple[Structure, Parameters]:
    """Like :func:`apply`, and also return the non-trainable values after the call."""
    with _ALONE:
        called = _call(model, model, parameters, inputs, state, training)
    return called.outputs, called.state


def features(
    model: keras.Model,
    parameters: Parameters,
    inputs: Structure,
    *,
    state: Parameters | None = None,
    training: bool = False,
) -> tuple[tf.Tensor, Parameters]:
    """Return the inputs of a model's last layer, ``[N, F]``, and the non-trainable values after the call.

    The arguments are those of :func:`call`; random layers are disabled.
    """
    with _ALONE, silenced(model) if training else nullcontext():
        called = _call(body(model), model, parameters, inputs, state, training)
    return called.outputs, called.state


def body(model: keras.Model) -> keras.Model:
    """Return a model without its last layer, with the same layers, variables and keys."""
    return keras.Model(model.inputs, model.layers[-1].input)


def key_of(model: keras.Model, variable: keras.Variable) -> str:
    """Return the key of one of a model's variables in :func:`parameters` or :func:`state`."""
    return next(named.key for named in named_variables(model) if named.variable is variable)


class ForeignVariableError(ValueError):
    """A call of a model assigns a variable that does not belong to the model."""


class _Called(NamedTuple):
    outputs: Structure
    state: Parameters
    losses: list[tf.Tensor]


def _call(
    network: keras.Model,
    model: keras.Model,
    parameters: Parameters,
    inputs: Structure,
    state: Parameters | None,
    training: bool,
) -> _Called:
    """Call ``network``, which is ``model`` or a part of it, with ``parameters`` of the model."""
    named = named_variables(model)
    state = _values(model, trainable=False) if state is None else state
    keys = {id(each.variable): each.key for each in named}
    trainable = [keys[id(variable)] for variable in model.trainable_variables]
    non_trainable = [keys[id(variable)] for variable in model.non_trainable_variables]
    _require_keys("parameters", parameters, trainable)
    _require_keys("state", state, non_trainable)
    double = needs_double(model, parameters)
    given = tf.nest.map_structure(_as_double, state) if double else state
    mapping = [(each.variable, parameters.get(each.key, given.get(each.key))) for each in named]
    # Not model.stateless_call, which passes training to models whose call does not accept it.
    with (
        in_double(network) if double else nullcontext(),
        keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope,
    ):
        outputs = network(inputs, training=training)
    if scope.state_mapping.keys() - keys.keys():
        raise ForeignVariableError(
            f"model {model.name!r} assigns a variable that does not belong to it, such as the state of the "
            "global generator from which keras.random draws without a seed: it would not change, and all "
            "inner steps would have the same noise. Let the layer own the variable, or a generator "
            "keras.random.SeedGenerator, and draw with seed=generator"
        )
    after = {
        each.key: tf.cast(_current(scope, each, given), state[each.key].dtype)
        for each in named
        if each.key in state
    }
    # Not model.losses, which finds losses by ids that layers keep longer than the tensors of this call.
    ids = {id(loss) for loss in scope.losses}
    for layer in model._flatten_layers() if ids else ():
        layer._loss_ids.difference_update(ids)
    return _Called(outputs, {key: after[key] for key in non_trainable}, scope.losses)


def _as_double(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(value, tf.float64) if value.dtype.is_floating else value


def _current(scope: keras.StatelessScope, named: NamedVariable, state: Parameters) -> tf.Tensor:
    value = scope.get_current_value(named.variable)
    return state[named.key] if value is None else value


def _penalties(model: keras.Model, parameters: Parameters) -> list[tf.Tensor]:
    """Return the value of each weight regulariser for its parameter."""
    return [
        named.variable.regularizer(parameters[named.key])
        for named in named_variables(model)
        if named.key in parameters and getattr(named.variable, "regularizer", None) is not None
    ]


def _total(losses: list[tf.Tensor]) -> tf.Tensor | None:
    """Return the sum of losses; Keras sums losses that are not scalars."""
    if not losses:
        return None
    dtype = max((loss.dtype for loss in losses), key=lambda dtype: dtype.size)
    return tf.add_n([tf.cast(tf.reduce_sum(loss), dtype) for loss in losses])


def _values(model: keras.Model, trainable: bool) -> Parameters:
    return {
        named.key: tf.convert_to_tensor(named.variable.value)
        for named in named_variables(model)
        if named.variable.trainable is trainable
    }


def _require_keys(name: str, given: Parameters, expected: list[str]) -> None:
    missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or unknown:
        raise ValueError(f"{name} do not fit the model: missing {missing}, unknown {unknown}")
