"""The mode with separate moving statistics for every inner step."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from metalearn.nn.modes.calls import judged, own_statistics, trained
from metalearn.nn.modes.protocol import Judged, Mode, Step, Trained
from metalearn.types import Parameters, Structure


@dataclasses.dataclass(frozen=True)
class PerStep(Mode):
    """Every inner step has its own moving statistics: queries at theta_k are normalised with set k.

    ::

        inner step k:           s(S) at theta_k,     m[k] <- a m[k] + (1 - a) s(S)
        queries at theta_k:     a m[k] + (1 - a) s(S)        the m[k] after step k, or after observe

    for k = 0, ..., K, and with m[K] in steps after K. The state is m, by key, leaves ``[K+1, ...]``. A
    trainer carries the result of ``observe`` at theta_K, because no inner step updates m[K]. The scales and
    shifts named in ``affine`` also have a set for each k, which is used for support and queries at theta_k;
    they are learned in the outer loop only.

    Attributes:
        statistics: the keys of the moving statistics.
        steps: K, the inner steps in meta-training, at least 0.
        affine: the keys of scales and shifts; empty if all steps share them, in which case they may be
            adapted.

    Reference: Antoniou, Edwards and Storkey (2019), "How to train your MAML", per-step batch normalisation
    running statistics (BNRS), and weights and biases (BNWB). Deviation: the paper has K sets, and queries at
    theta_{k+1} use set k.
    """

    statistics: tuple[str, ...]
    steps: int
    affine: tuple[str, ...] = ()

    needs_support = True

    def initial(self, model: keras.Model) -> Structure:
        """Return K + 1 copies of the model's current moving statistics."""
        return self._copies(own_statistics(model, self.statistics))

    def spread(self, parameters: Parameters) -> Parameters:
        """Return parameters with K + 1 copies of the scales and shifts."""
        return {**parameters, **self._copies({key: parameters[key] for key in self.affine})}

    def at(self, parameters: Parameters, step: Step) -> Parameters:
        """Return parameters with the scales and shifts of one step."""
        return {**parameters, **self._set({key: parameters[key] for key in self.affine}, step)}

    def inner(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        inputs: Structure,
        step: Step,
        noise: tf.Tensor | None,
    ) -> Trained:
        """Call the model in training mode on the support, and update the statistics of the step."""
        outputs, losses, after = trained(model, parameters, self._set(state, step), inputs, noise)
        moved = {
            key: tf.where(self._chosen(leaf, step), after[key][None], leaf) for key, leaf in state.items()
        }
        return outputs, losses, moved

    def observe(
        self, model: keras.Model, parameters: Parameters, state: Structure, inputs: Structure, step: Step
    ) -> Structure:
        """Update the statistics of the step by a training call on the support."""
        return self.inner(model, parameters, state, inputs, step, None)[2]

    def query_statistics(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        support_inputs: Structure,
        step: Step,
    ) -> Parameters:
        """Return the statistics of the step after ``observe``."""
        before = self._set(state, step)
        if not tf.nest.flatten(support_inputs):
            return before
        return trained(model, parameters, before, support_inputs)[2]

    def outer(
        self,
        model: keras.Model,
        parameters: Parameters,
        state: Structure,
        support_inputs: Structure,
        query_inputs: Structure,
        step: Step,
    ) -> Judged:
        """Call the model on the queries with the statistics of the step after ``observe``."""
        statistics = self.query_statistics(model, parameters, state, support_inputs, step)
        return judged(model, parameters, statistics, query_inputs)

    def _copies(self, values: Parameters) -> Parameters:
        return {key: tf.repeat(value[None], self.steps + 1, axis=0) for key, value in values.items()}

    def _set(self, sets: Structure, step: Step) -> Parameters:
        """Return the set of one step."""
        # Not gather: its gradient with respect to the sets would be sparse.
        return {
            key: tf.reduce_sum(tf.where(self._chosen(leaf, step), leaf, tf.zeros_like(leaf)), axis=0)
            for key, leaf in sets.items()
        }

    def _chosen(self, leaf: tf.Tensor, step: Step) -> tf.Tensor:
        """Return a mask ``[K+1, 1, ...]`` of the set of a step."""
        index = tf.minimum(tf.cast(step, tf.int32), self.steps)
        return tf.reshape(tf.range(self.steps + 1) == index, [-1] + [1] * (leaf.shape.rank - 1))
