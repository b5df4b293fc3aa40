"""Meta-Curvature: gradients multiplied along every axis by learned matrices, for any rule."""

from __future__ import annotations

import dataclasses
import functools
import string

import tensorflow as tf

from metalearn.rules.description import settings_of
from metalearn.rules.hyperparameters import Settings
from metalearn.rules.records import Record
from metalearn.rules.wrapping import free_name, resolve_rule
from metalearn.types import Parameters, Rule, Structure

NAME = "curvature"
"""The name of the matrices in the meta-parameters."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class meta_curvature(Record, Rule):
    """``rule`` applied to gradients multiplied along each axis by a learned matrix, initially the identity.

    ::

        G[i, j, ...]  <-  sum_{a, b, ...} M_0[i, a] M_1[j, b] ... G[a, b, ...]

    For the kernel of a dense layer this is ``M_0 G M_1'``. A vector is scaled elementwise, a scalar by a
    number. The matrices of a variable are learned as ``curvature/<key>/axis_<n>``, of size ``d_n x d_n`` for
    an axis of length ``d_n``; if the rule contains another ``meta_curvature``, as ``curvature_2/...``. The
    Kronecker product of the matrices is the block of the variable in a block-diagonal preconditioner.

    Args:
        rule: any rule, or its name; its learned hyperparameters are still learned.

    Raises:
        ValueError: if ``rule`` is not a rule.

    Reference: Park and Oliva (2019), "Meta-Curvature", equation 7. In the paper the two spatial axes of a
    convolution's filters are flattened into one; here each axis has a matrix.
    """

    rule: Rule

    def __post_init__(self) -> None:
        resolve_rule(self)

    def settings(self) -> Settings:
        return settings_of(self.rule)

    def learnable(self, parameters: Parameters) -> Structure:
        own = {key: _identities(parameter) for key, parameter in parameters.items()}
        return {**self.rule.learnable(parameters), self._name: own}

    def init(self, parameters: Parameters) -> Structure:
        return self.rule.init(parameters)

    def update(
        self,
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        values: Structure,
        step: int | tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        own = values[self._name]
        transformed = {key: _transformed(gradient, own[key]) for key, gradient in gradients.items()}
        rest = {key: leaf for key, leaf in values.items() if key != self._name}
        return self.rule.update(transformed, state, parameters, rest, step)

    @functools.cached_property
    def _name(self) -> str:
        return free_name(NAME, self.rule.learnable({}))


def _identities(parameter: tf.Tensor) -> dict[str, tf.Tensor]:
    shape = parameter.shape.as_list()
    if len(shape) < 2:
        return {"axis_0": tf.ones(shape, parameter.dtype)}
    return {f"axis_{axis}": tf.eye(size, dtype=parameter.dtype) for axis, size in enumerate(shape)}


def _transformed(gradient: tf.Tensor, matrices: dict[str, tf.Tensor]) -> tf.Tensor:
    rank = gradient.shape.rank
    if rank < 2:
        return matrices["axis_0"] * gradient
    axes = string.ascii_lowercase[:rank]
    for axis, letter in enumerate(axes):
        gradient = tf.einsum(
            f"Z{letter},{axes}->{axes.replace(letter, 'Z')}", matrices[f"axis_{axis}"], gradient
        )
    return gradient
