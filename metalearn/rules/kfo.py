"""KFO: gradients transformed by learned Kronecker-factored matrices, which are adapted, too."""

from __future__ import annotations

import dataclasses

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
        """Return the initial state, zeros: the changes of the matrices, and ``r G`` of the last step."""
        if not self.adapted:
            return {}
        return {
            key: {
                "moved": tf.nest.map_structure(tf.zeros_like, _identities(parameter)),
                "last": tf.zeros_like(parameter),
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
            rate, factors = now[key]["learning_rate"], values[NAME][key]
            if self.adapted:
                before = state[key]
                factors = tf.nest.map_structure(tf.add, factors, before["moved"])
                change = {
                    side: rate * gain for side, gain in _gains(factors, before["last"], gradient).items()
                }
                factors = tf.nest.map_structure(tf.add, factors, change)
                now_moved = tf.nest.map_structure(tf.add, before["moved"], change)
                after[key] = {"moved": now_moved, "last": rate * gradient}
            left, right = (tf.matmul(factor, factor, transpose_a=True) for factor in factors.values())
            transformed = tf.einsum("ij,ajk,kl->ail", left, _matrices(gradient), right)
            moved[key] = parameters[key] - rate * _shaped(transformed, gradient.shape)
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


def _gains(factors: Factors, last: tf.Tensor, gradient: tf.Tensor) -> Factors:
    """Return the negative derivatives of the loss with respect to L and R, from its gradient G.

    The parameters are ``theta - L' L P R' R`` with P, ``last``, from the step before. The results are
    ``L (S + S')`` with ``S = G R' R P'``, and ``R (S + S')`` with ``S = P' L' L G``.
    """
    left, right = factors["left"], factors["right"]
    last, gradient = _matrices(last), _matrices(gradient)
    rows = tf.einsum("aij,kj,kl,aml->im", gradient, right, right, last)
    columns = tf.einsum("aji,kj,kl,alm->im", last, left, left, gradient)
    return {
        "left": tf.matmul(left, rows + tf.transpose(rows)),
        "right": tf.matmul(right, columns + tf.transpose(columns)),
    }
