"""One inner step as a map from the inner loop's state to itself, and products with its Jacobian."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.autodiff.failures import explained
from metalearn.autodiff.gradients import dense
from metalearn.estimators.backward import Pass
from metalearn.inner_loop import inner_step
from metalearn.nest import ravel
from metalearn.types import Inner, Meta, Structure, Task

Leaves = list[tf.Tensor]
"""The floating-point leaves of an inner state, or tangents and cotangents of them."""

ZERO = tf.UnconnectedGradients.ZERO


@dataclasses.dataclass(frozen=True)
class StepMap:
    """``x -> step(x, phi)`` at ``inner``, the step after the last of the inner loop, with the Jacobian J."""

    through: Pass
    inner: Inner
    task: Task

    def floating(self, structure: Structure) -> Leaves:
        """Return the leaves that are floating point in the inner state."""
        pairs = zip(tf.nest.flatten(self.inner), tf.nest.flatten(structure), strict=True)
        return [leaf for state, leaf in pairs if state.dtype.is_floating]

    def along(self, vector: Leaves) -> Leaves:
        """Return ``J v``."""
        point = self._point()
        with explained(), tf.autodiff.ForwardAccumulator(point, vector) as forward:
            outputs = self._step(point, self.through.phi)
        return [tf.convert_to_tensor(forward.jvp(output, unconnected_gradients=ZERO)) for output in outputs]

    def transposed(self, vector: Leaves) -> Leaves:
        """Return ``J' v``."""
        point = self._point()
        with tf.GradientTape() as tape:
            tape.watch(point)
            outputs = self._step(point, self.through.phi)
        return dense(tape.gradient(outputs, point, output_gradients=vector, unconnected_gradients=ZERO))

    def to_phi(self, vector: Leaves) -> Meta:
        """Return ``(d step / d phi)' v``; None for leaves on which the step does not depend."""
        phi = self.through.phi
        with tf.GradientTape() as tape:
            tape.watch(phi)
            outputs = self._step(self._point(), phi)
        return dense(tape.gradient(outputs, phi, output_gradients=vector))

    def distance(self) -> tf.Tensor:
        """Return ``|step(x) - x|``."""
        point = self._point()
        after = self._step(point, self.through.phi)
        return tf.norm(ravel([new - old for new, old in zip(after, point, strict=True)])[0])

    def _point(self) -> Leaves:
        return [tf.identity(leaf) for leaf in self.floating(self.inner)]

    def _step(self, point: Leaves, phi: Meta) -> Leaves:
        leaves = iter(point)
        inner = tf.nest.map_structure(
            lambda leaf: next(leaves) if leaf.dtype.is_floating else leaf, self.inner
        )
        problem = self.through.problem
        return self.floating(inner_step(problem, inner, phi, self.task, problem.steps))
