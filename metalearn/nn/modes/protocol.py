"""What every mode offers."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import keras
import tensorflow as tf

from metalearn.types import Parameters, Structure

Step: TypeAlias = "int | tf.Tensor"
Judged: TypeAlias = "tuple[Structure, tf.Tensor | None]"
Trained: TypeAlias = "tuple[Structure, tf.Tensor | None, Structure]"


class Mode(Protocol):
    """How a model is called in inner steps, and to be judged: pure functions, differentiable through.

    The model and its parameters, keyed as by :func:`metalearn.functional.parameters`, come first. ``state``
    is what the inner loop carries beside the parameters: moving statistics by key, or ``()``. ``losses`` are
    the sum of the model's losses in the call that gives the outputs, or None: see
    :func:`metalearn.functional.call`. Inputs are those of a task's support or query examples, ``[N, ...]``.
    A record that names this class as its base inherits a mode without a state.

    Attributes:
        needs_support: whether ``outer`` and ``observe`` read the inputs of the support.
        affine: keys of parameters that each inner step has a value of its own for, ``[K+1, ...]`` among the
            meta-parameters. The inner loop moves none of them.
    """

    needs_support: bool = False
    affine: tuple[str, ...] = ()

    def initial(self, model: keras.Model) -> Structure:
        """Return the state before any training, from the model's own values."""
        return ()

    def spread(self, parameters: Parameters) -> Parameters:
        """Return the meta-parameters before any training, given the model's parameters."""
        return parameters

    def at(self, parameters: Parameters, step: Step) -> Parameters:
        """Return the model's parameters at inner step ``step``, as the other methods take them."""
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

        ``noise`` is the seed, ``[2]`` integers, of layers that draw; without it they are off.
        """
        ...

    def solved(self, state: Structure, after: Parameters) -> Structure:
        """Return the state after a head was solved for.

        ``after`` is all non-trainable values after the training call on the support that gave the features;
        before it they were ``query_statistics`` at step 0. All but ``moving`` keep the state.
        """
        return state

    def observe(
        self, model: keras.Model, parameters: Parameters, state: Structure, inputs: Structure, step: Step
    ) -> Structure:
        """Return the state that judging theta_step leaves, given the support's inputs.

        It is what a trainer carries to the next tasks from the last step. All but ``per_step`` keep the
        state.
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
        """Return the moving statistics, by key, that queries at theta_step are normalised with.

        Arguments are those of ``outer``; without inputs of a support, ``()``, as far as they are known then.
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

        Layers that draw are off.
        """
        ...
