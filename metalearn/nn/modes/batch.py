"""The mode in which every call normalises with its own examples."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from metalearn.nn.modes.calls import trained
from metalearn.nn.modes.protocol import Judged, Mode, Step, Trained
from metalearn.types import Parameters, Structure


@dataclasses.dataclass(frozen=True)
class Batch(Mode):
    """Every call normalises with the statistics of the examples that it is given.

    ::

        inner step k:           s(S) at theta_k
        queries at theta_k:     s(Q) at theta_k

    with s(B) the mean and variance over the examples B of what a layer is given. There is no state. What a
    query is answered depends on the queries beside it (transduction): an accuracy is one of query batches
    of that size and mixture of classes. Most published results on few-shot images are of this kind.

    References: Nichol, Achiam and Schulman (2018), "On First-Order Meta-Learning Algorithms", section 6.1,
    on transduction; Bronskill et al. (2020), "TaskNorm", where it is called transductive batch
    normalisation.
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
        """Call the model in training on the support."""
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
        """Call the model in training on the queries."""
        return trained(model, parameters, {}, query_inputs)[:2]
