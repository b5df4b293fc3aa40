"""KFO: gradients transformed by learned Kronecker-factored matrices, which are adapted, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from metalearn.rules.hyperparameters import (
    POSITIVE,
    Hyperparameter,
    Settings,
    current_values,
    initial_values,
    require_hyperparameter,
)
from metalearn.rules.learnable import Learned
from metalearn.rules.records import Record
from metalearn.types import Parameters, Rule, Structure

NAME = "factors"
"""The name of the matrices in the meta-parameters."""

Factors = dict[str, tf.Tensor]

PRODUCTS = {"left": "ij,ajk->aik", "right": "ij,akj->aki"}
"""Products ``F G`` with the rows, and ``G F'`` with the columns, of each matrix G, as arguments of einsum."""

OUTER = {"left": "aij,akj->ik", "right": "aji,ajk->ik"}
"""Products ``G P'`` and ``G' P``, summed over the matrices."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class kfo(Record, Rule):
    """Gradient descent with gradients that are transformed by two learned matrices, which are adapted, too.

    G_k is the gradient of a variable as a matrix. The matrices L_k and R_k of a task are initialised by the
    learned ones, which are initially the identity::

        theta_{k+1}    = theta_k - r L_k' L_k G_k R_k' R_k
        L_{k+1}        = L_k - r dl/dL_k,       R_{k+1} = R_k - r dl/dR_k,       l = l(theta_{k+1}(L_k, R_k))

    with the inner loss l of step k + 1 and the learning rate r. L' L and R' R are positive semi-definite, so
    each step is along a descent direction. The kernel ``[in, out]`` of a dense layer is a matrix; that of a
    convolution, ``[*window, in, out]``, is a matrix ``[in, window]`` for each output, with the same L and R
    for all; a vector is a matrix with one column. The matrices are learned as ``factors/<key>/left`` and
    ``right``.

    In :class:`meta_curvature`, by contrast, the matrices are not constrained and the same at every inner
    step, each axis of a kernel has one, and a vector is scaled elementwise.

    Args:
        learning_rate: r, positive and finite; not learned for each element.
        adapted: whether the matrices are adapted with the parameters; otherwise ``L_k = L_0``.

    Raises:
        ValueError: if the rate is not positive and finite, or learned for each element.

    Reference: Arnold, Iqbal and Sha (2021), "When MAML Can Adapt Fast and How to Assist When It Cannot", as
    in their published code: linear transforms; some results of the paper use networks with hidden layers.
    """

    learning_rate: Hyperparameter
    adapted: bool = True

    def __post_init__(self) -> None:
        require_hyperparameter(POSITIVE, "learning_rate", self.learning_rate)
        if isinstance(self.learning_rate, Learned) and self.learning_rate.per == "element":
            raise ValueError(
                "learning_rate=learned(per='element') is not supported by kfo, whose matrices have the same "
                "rate as a variable: choose per='variable' or 'scalar'"
            )

    def settings(self) -> Settings:
        return {"learning_rate": self.learning_rate}

    def learnable(self, parameters: Parameters) -> Structure:
        own = {key: _identities(parameter) for key, parameter in parameters.items()}
        return {**initial_values(self.settings(), parameters), NAME: own}

    def init(self, parameters: Parameters) -> Structure:
        """Return the initial state, zeros: the changes of the matrices, and products of the last gradient.

        With ``P = r G`` of the last step, these are ``left = P R'R`` and ``right = L'L P``, as matrices.
        """
        if not self.adapted:
            return {}
        return {
            key: {
                "moved": tf.nest.map_structure(tf.zeros_like, _identities(parameter)),
                "last": {side: tf.zeros_like(_matrices(parameter)) for side in PRODUCTS},
            }
            for key, parameter in parameters.items()
        }

    def update(
        self,
        gradients: Parameters,
        state: Structure,
        parameters: Parameters,
        values: Structure,
        step: int | tf.Tensor,
    ) -> tuple[Parameters, Structure]:
        now = current_values(self.settings(), values, parameters, step)
        moved, after = {}, {}
        for key, gradient in gradients.items():
            rate, factors, matrices = now[key]["learning_rate"], values[NAME][key], _matrices(gradient)
            if self.adapted:
                before = state[key]
                factors = tf.nest.map_structure(tf.add, factors, before["moved"])
                change = {
                    side: rate * _gain(side, factor, matrices, before["last"][side])
                    for side, factor in factors.items()
                }
                factors = tf.nest.map_structure(tf.add, factors, change)
            squared = {side: _squared(side, factor, matrices) for side, factor in factors.items()}
            by_left = squared["left"](matrices)
            moved[key] = parameters[key] - rate * _shaped(squared["right"](by_left), gradient.shape)
            if self.adapted:
                after[key] = {
                    "moved": tf.nest.map_structure(tf.add, before["moved"], change),
                    "last": {"left": rate * squared["right"](matrices), "right": rate * by_left},
                }
        return moved, after if self.adapted else state


def _matrices(variable: tf.Tensor) -> tf.Tensor:
    """Return a variable as matrices ``[number, rows, columns]``."""
    if variable.shape.rank < 2:
        return tf.reshape(variable, [1, -1, 1])
    if variable.shape.rank == 2:
        return variable[None]
    return tf.transpose(tf.reshape(variable, [-1, *variable.shape[-2:]]), [2, 1, 0])


def _shaped(matrices: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Return the variable from its matrices; the inverse of :func:`_matrices`."""
    return tf.reshape(tf.transpose(matrices, [2, 1, 0]) if shape.rank > 2 else matrices, shape)


def _identities(parameter: tf.Tensor) -> Factors:
    _, rows, columns = _matrices(parameter).shape
    return {"left": tf.eye(rows, dtype=parameter.dtype), "right": tf.eye(columns, dtype=parameter.dtype)}


# Few vectors are multiplied one matrix at a time: products of two matrices would take most of the time for
# biases, of which each has a matrix as large as those of kernels.


def _vectors(factor: tf.Tensor, matrices: tf.Tensor) -> int:
    """Return the number of vectors that a factor is multiplied with."""
    return matrices.shape.num_elements() // factor.shape[0]


def _squared(side: str, factor: tf.Tensor, like: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the product of ``F'F``, for a factor F of that side, with matrices like ``like``."""
    if _vectors(factor, like) < factor.shape[0]:
        transposed = tf.transpose(factor)
        return lambda x: tf.einsum(PRODUCTS[side], transposed, tf.einsum(PRODUCTS[side], factor, x))
    square = tf.matmul(factor, factor, transpose_a=True)
    return lambda x: tf.einsum(PRODUCTS[side], square, x)


def _gain(side: str, factor: tf.Tensor, gradient: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Return the negative derivative of the loss with respect to L or R, from its gradient G.

    The parameters are ``theta - L'L P R'R`` with P from the step before. The result is ``L (S + S')`` with
    ``S = G (P R'R)'``, or ``R (S + S')`` with ``S = G' (L'L P)``; ``last`` is the product in brackets.
    """
    if 3 * _vectors(factor, gradient) < factor.shape[0]:
        return tf.einsum(OUTER[side], tf.einsum(PRODUCTS[side], factor, gradient), last) + tf.einsum(
            OUTER[side], tf.einsum(PRODUCTS[side], factor, last), gradient
        )
    products = tf.einsum(OUTER[side], gradient, last)
    return tf.matmul(factor, products + tf.transpose(products))
