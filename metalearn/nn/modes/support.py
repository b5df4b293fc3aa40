"""The mode in which queries are normalised with the statistics of the support."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from metalearn.nn import functional
from metalearn.nn.modes.calls import judged, trained
from metalearn.nn.modes.protocol import Judged, Mode, Step, Trained
from metalearn.types import Parameters, Structure


@dataclasses.dataclass(frozen=True)
class Support(Mode):
    """Queries are normalised with the statistics of the support examples at the same parameters.

    ::

        inner step k:           s(S) at theta_k
        queries at theta_k:     s(S) at theta_k

    The prediction for a query does not depend on other queries. There is no state. The statistics come from a
    training call on the support with zeros as the initial moving statistics, which returns ``(1 - a) s(S)``,
    where a is the layer's momentum.

    Attributes:
        momenta: the key of each moving statistic and its momentum a.

    Reference: Bronskill et al. (2020), "TaskNorm", where it is called MetaBN.
    """

    momenta: tuple[tuple[str, float], ...]

    needs_support = True

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

    def query_statistics(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        support_inputs: Structure,
        step: Step,
    ) -> Parameters:
        """Return the statistics of a training call on the support."""
        if not tf.nest.flatten(support_inputs):
            return {}
        own = functional.state(model)
        zeros = {key: tf.zeros_like(own[key]) for key, _ in self.momenta}
        _, _, moved = trained(model, parameters, zeros, support_inputs)
        return {key: moved[key] / (1.0 - momentum) for key, momentum in self.momenta}

    def outer(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        support_inputs: Structure,
        query_inputs: Structure,
        step: Step,
    ) -> Judged:
        """Call the model in training mode on the support, then with its statistics on the queries."""
        statistics = self.query_statistics(model, parameters, state, support_inputs, step)
        return judged(model, parameters, statistics, query_inputs)
