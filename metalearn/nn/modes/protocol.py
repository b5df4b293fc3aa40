"""The protocol of modes."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import keras
import tensorflow as tf

from metalearn.types import Parameters, Structure

Step: TypeAlias = "int | tf.Tensor"
Judged: TypeAlias = "tuple[Structure, tf.Tensor | None]"
Trained: TypeAlias = "tuple[Structure, tf.Tensor | None, Structure]"


class Mode(Protocol):
    """The calls of a model in inner steps and for queries: pure, differentiable functions.

    The first arguments are the model and its parameters, keyed as :func:`metalearn.functional.parameters`.
    ``state`` is the model's state in the inner loop: moving statistics by key, or ``()``. ``losses`` is the
    sum of the model's losses in the call that computes the outputs, or None; see
    :func:`metalearn.functional.call`. Inputs are those of a task's support or query examples, ``[N, ...]``. A
    subclass inherits the defaults of a mode without a state.

    Attributes:
        needs_support: whether ``outer`` and ``observe`` use the inputs of the support.
        affine: the keys of parameters with a separate value for each inner step, ``[K+1, ...]`` in the
            meta-parameters. They are not adapted.
    """

    needs_support: bool = False
    affine: tuple[str, ...] = ()

    def initial(self, model: keras.Model) -> Structure:
        """Return the initial state, from the model's current values."""
        return ()

    def spread(self, parameters: Parameters) -> Parameters:
        """Return the initial meta-parameters, given the model's parameters."""
        return parameters

    def at(self, parameters: Parameters, step: Step) -> Parameters:
        """Return the model's parameters at inner step ``step``, for the other methods."""
        return parameters

    def inner(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        inputs: Structure,
        step: Step,
        noise: tf.Tensor | None,
    ) -> Trained:
        """Return ``(outputs, losses, state)`` of the training call of inner step ``step``, from 0.

        ``noise`` is the seed, ``[2]`` integers, of random layers, which are disabled without it.
        """
        ...

    def solved(self, state: Structure, after: Parameters) -> Structure:
        """Return the state after the fit of a head.

        ``after`` are all non-trainable values after the training call on the support that computed the
        features; before it they were ``query_statistics`` at step 0. Only ``moving`` changes the state.
        """
        return state

    def observe(
        self, model: keras.Model, parameters: Parameters, state: Structure, inputs: Structure, step: Step
    ) -> Structure:
        """Return the state after evaluating theta_step, given the support's inputs.

        A trainer carries the state of the last step to the next tasks. Only ``per_step`` changes the state.
        """
        return state

    def query_statistics(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        support_inputs: Structure,
        step: Step,
    ) -> Parameters:
        """Return the moving statistics, by key, with which queries at theta_step are normalised.

        Arguments are those of ``outer``. Without inputs of a support, ``()``, the statistics that are known
        then.
        """
        return {}

    def outer(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        support_inputs: Structure,
        query_inputs: Structure,
        step: Step,
    ) -> Judged:
        """Return ``(outputs, losses)`` of the queries at theta_step, given the state before ``observe``.

        Random layers are disabled.
        """
        ...
