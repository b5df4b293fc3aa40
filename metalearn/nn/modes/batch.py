"""The mode in which every call normalises with the statistics of its examples."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from metalearn.nn.modes.calls import trained
from metalearn.nn.modes.protocol import Judged, Mode, Step, Trained
from metalearn.types import Parameters, Structure


@dataclasses.dataclass(frozen=True)
class Batch(Mode):
    """Every call normalises with the statistics of its own examples.

    ::

        inner step k:           s(S) at theta_k
        queries at theta_k:     s(Q) at theta_k

    where s(B) are the mean and variance of a layer's inputs over the examples B. There is no state. The
    prediction for a query depends on the other queries in its batch (transduction), so an accuracy belongs to
    query batches of a certain size and mixture of classes. Most published results on few-shot images use this
    mode.

    References: Nichol, Achiam and Schulman (2018), "On First-Order Meta-Learning Algorithms", section 6.1,
    on transduction; Bronskill et al. (2020), "TaskNorm", on transductive batch normalisation.
    """

    def inner(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        inputs: Structure,
        step: Step,
        noise: tf.Tensor | None,
    ) -> Trained:
        """Call the model in training mode on the support."""
        outputs, losses, _ = trained(model, parameters, {}, inputs, noise)
        return outputs, losses, state

    def outer(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        support_inputs: Structure,
        query_inputs: Structure,
        step: Step,
    ) -> Judged:
        """Call the model in training mode on the queries."""
        return trained(model, parameters, {}, query_inputs)[:2]
