"""The mode in which inner steps update moving statistics, and queries are normalised with these."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from metalearn.nn.modes.calls import judged, own_statistics, trained
from metalearn.nn.modes.protocol import Judged, Mode, Step, Trained
from metalearn.types import Parameters, Structure


@dataclasses.dataclass(frozen=True)
class Moving(Mode):
    """Inner steps update the moving statistics as Keras' ``fit`` does; queries are normalised with them.

    ::

        inner step k:           s(S) at theta_k,     m_{k+1} = a m_k + (1 - a) s(S)
        queries at theta_k:     m_k

    where a is the layer's momentum. The fit of a head also updates m_0. The state is m, by key. A trainer
    carries m_0, the mean over tasks of m_K, and the meta-gradient passes through m_K to the parameters.

    Attributes:
        statistics: the keys of the moving statistics.

    References: Ioffe and Szegedy (2015), "Batch Normalization", algorithm 2; Bronskill et al. (2020),
    "TaskNorm", on conventional batch normalisation.
    """

    statistics: tuple[str, ...]

    def initial(self, model: keras.Model) -> Structure:
        """Return m_0: the model's current moving statistics."""
        return own_statistics(model, self.statistics)

    def inner(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        inputs: Structure,
        step: Step,
        noise: tf.Tensor | None,
    ) -> Trained:
        """Call the model in training mode on the support, and update the statistics."""
        return trained(model, parameters, state, inputs, noise)

    def solved(self, state: Structure, after: Parameters) -> Structure:
        """Return the statistics after the training call on the support."""
        return {key: after[key] for key in state}

    def query_statistics(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        support_inputs: Structure,
        step: Step,
    ) -> Parameters:
        """Return the state."""
        return dict(state)

    def outer(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        support_inputs: Structure,
        query_inputs: Structure,
        step: Step,
    ) -> Judged:
        """Call the model on the queries with the moving statistics."""
        return judged(model, parameters, state, query_inputs)
