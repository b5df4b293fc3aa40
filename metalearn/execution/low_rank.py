"""Products with matrices that differ by a few outer products, without computing these matrices.

A step of gradient descent on a dense layer subtracts a product over N examples from its kernel::

    W_1 = W - alpha x' u          x: [N, I], u: [N, O]
    q W_1 = q W - alpha (q x') u

The right-hand side multiplies all tasks' examples with one matrix W, and has two small products for each
task, while the left-hand side reads and writes a matrix for each task. Derivatives of the meta-loss with
respect to kernels are sums of such products, too. So a matrix is represented by the operations of the graph
that compute it: a product with it follows these back, and the compiler removes those that are not used then.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from metalearn.execution.reads import read_for
from metalearn.types import Structure

LARGEST_SHARE = 2.0
"""The largest ``R (I + O) / (I O)`` for which a sum of R outer products represents a matrix ``[I, O]``."""

Scales: TypeAlias = "tuple[tf.Tensor | float, ...]"
"""Scalars whose product a matrix is multiplied by."""

FEW_TERMS = 8
"""The number of terms of a matrix that are looked at in search of a product."""

ADDING = ("Identity", "IdentityN", "Neg", "Mul", "AddV2", "AddN", "Sub")
"""Types of operations that make a sum of multiples of matrices."""

Pair: TypeAlias = "tuple[tf.Tensor, tf.Tensor]"
"""The factors ``[R, I]`` and ``[R, O]`` of a sum of R outer products."""

_products: ContextVar[int] = ContextVar("products", default=0)
"""The number of products over examples in the meta-gradient of a kernel; 0 if no matrix is represented."""


@contextmanager
def represented(steps: int | None) -> Iterator[None]:
    """Represent matrices by outer products in the program of K inner steps that is built within the context.

    None is for no matrix.

    The meta-gradient with respect to a kernel is a sum of ``2 K + 1`` products over examples: two for each
    step, and one for the outer loss. A kernel is represented everywhere if that sum is, because a program
    that computes some of these matrices is slower than one that computes all or none.
    """
    token = _products.set(0 if steps is None else 2 * steps + 1)
    try:
        yield
    finally:
        _products.reset(token)


def are_represented() -> bool:
    """Return whether matrices may be represented in the program that is being built."""
    return bool(_products.get())


class Factors(NamedTuple):
    """A matrix ``base + left' right``.

    Attributes:
        base: ``[I, O]``, or None for zero.
        left: ``[R, I]``.
        right: ``[R, O]``.
    """

    base: tf.Tensor | None
    left: tf.Tensor
    right: tf.Tensor


def product(x: tf.Tensor, matrix: tf.Tensor, transposed: bool = False) -> tf.Tensor:
    """Return ``x W``, or ``x W'`` if ``transposed``; its gradient has to be defined by the caller.

    If W is a multiple ``c M``, such as the cotangent of a gradient in a step, and has more rows than x, the
    result is ``c (x M)``: c M is then not computed if it has no other use.

    Args:
        x: ``[N, I]``, or ``[N, O]`` if ``transposed``.
        matrix: W, ``[I, O]``.
    """
    found = factors(matrix)
    if found is None:
        is_small = x.shape.is_fully_defined() and x.shape[0] < x.shape[1]
        matrix, scales = _unscaled(matrix) if is_small else (matrix, ())
        return _scaled(tf.matmul(x, matrix, transpose_b=transposed), scales)
    near, far = (found.right, found.left) if transposed else (found.left, found.right)
    change = tf.matmul(tf.matmul(x, near, transpose_b=True), far)
    return change if found.base is None else tf.matmul(x, found.base, transpose_b=transposed) + change


def factors(matrix: tf.Tensor) -> Factors | None:
    """Return the factors of a matrix of the graph, or None if it is not :func:`represented` by any."""
    if not are_represented() or not tf.is_symbolic_tensor(matrix):
        return None
    if matrix.shape.rank != 2 or not matrix.shape.is_fully_defined():
        return None
    rows, columns = matrix.shape
    most = LARGEST_SHARE * rows * columns / (rows + columns)
    base, left, right, rank = None, [], [], 0
    for term, scales in _terms(matrix):
        if (pair := _outer_product(term)) is not None:
            left.append(pair[0])
            right.append(_scaled(pair[1], scales))
            rank += pair[0].shape[0]
        elif base is not None or scales:
            return None
        else:
            base = term
        if rank > most:  # at the latest here, as a graph may have any number of terms
            return None
    if not left or rank / len(left) * _products.get() > most:
        return None
    return Factors(base, _joined(left), _joined(right))


def avoids_matrices(matrices: Structure, results: Structure) -> bool:
    """Return whether at least one matrix is represented and not computed for ``results``."""
    read = read_for(results)
    leaves = tf.nest.flatten(matrices)
    return any(factors(leaf) is not None and id(leaf) not in read for leaf in leaves)


def adds_products(matrix: tf.Tensor) -> bool:
    """Return whether a matrix is a sum with ``x' u`` as a product of matrices, see :func:`outer`.

    A single row or column does not count: XLA fuses products with it like sums.
    """
    if not tf.is_symbolic_tensor(matrix) or matrix.shape.rank != 2 or 1 in matrix.shape:
        return False
    terms = itertools.islice(_terms(matrix), FEW_TERMS)  # a graph may have any number
    return any(term.op.type == "MatMul" and _outer_product(term) is not None for term, _ in terms)


def summands(matrix: tf.Tensor) -> tuple[list[tf.Tensor], list[Pair]]:
    """Return the terms of a matrix: those that have other uses, and products that have none.

    The products are the factors ``[R, I]`` and ``[R, O]`` of each. There are none if the matrix is no sum of
    products, or a single row or column, whose products XLA fuses like sums.
    """
    if not tf.is_symbolic_tensor(matrix) or matrix.shape.rank != 2 or 1 in matrix.shape:
        return [], []
    computed: list[tf.Tensor] = []
    products: list[Pair] = []
    for count, (term, scales) in enumerate(_terms(matrix)):
        if count == FEW_TERMS:
            return [], []
        pair = _outer_product(term)
        if pair is None or _is_used(term):
            computed.append(_scaled(term, scales))
        else:
            products.append((pair[0], _scaled(pair[1], scales)))
    return computed, products


def outer(x: tf.Tensor, u: tf.Tensor, summed: bool) -> tf.Tensor:
    """Return ``x' u``, in a form that :func:`factors` recognises.

    Args:
        x: ``[N, I]``.
        u: ``[N, O]``.
        summed: whether to compute it as a sum of N outer products, which XLA fuses into its use.
    """
    if summed:
        return tf.reduce_sum(tf.expand_dims(x, 2) * tf.expand_dims(u, 1), 0)
    return tf.matmul(x, u, transpose_a=True)


def _terms(matrix: tf.Tensor) -> Iterator[tuple[tf.Tensor, Scales]]:
    """Yield the tensors whose sum a matrix is, each with the scalars that it is multiplied by."""
    remaining: list[tuple[tf.Tensor, Scales]] = [(matrix, ())]
    while remaining:
        term, scales = remaining.pop()
        term, more = _unscaled(term)
        scales += more
        kind, inputs = term.op.type, list(term.op.inputs)
        same = all(value.shape == matrix.shape for value in inputs)
        if kind in ("AddV2", "AddN") and same:
            remaining += [(value, scales) for value in inputs]
        elif kind == "Sub" and same:
            remaining += [(inputs[0], scales), (inputs[1], (*scales, -1.0))]
        elif not _is_zero(term):
            yield term, scales


def _unscaled(matrix: tf.Tensor) -> tuple[tf.Tensor, Scales]:
    """Return the tensor that a matrix is a multiple of, and the scalars that it is multiplied by."""
    scales: Scales = ()
    while tf.is_symbolic_tensor(matrix):
        kind, inputs = matrix.op.type, list(matrix.op.inputs)
        if kind in ("Identity", "IdentityN"):
            matrix = inputs[matrix.value_index]
        elif kind == "Neg":
            matrix, scales = inputs[0], (*scales, -1.0)
        elif kind == "Mul" and inputs[0].shape.rank == 0:
            matrix, scales = inputs[1], (*scales, inputs[0])
        elif kind == "Mul" and inputs[1].shape.rank == 0:
            matrix, scales = inputs[0], (*scales, inputs[1])
        else:
            break
    return matrix, scales


def _is_used(term: tf.Tensor) -> bool:
    """Return whether a multiple of a matrix, or a sum with it, is read by an operation that is no sum."""
    remaining, seen = [term], set[int]()
    while remaining:
        for reader in remaining.pop().consumers():
            if reader.type not in ADDING:
                return True
            if id(reader) not in seen:
                seen.add(id(reader))
                remaining += reader.outputs
    return False


def _is_zero(term: tf.Tensor) -> bool:
    if term.op.type == "Fill":
        term = term.op.inputs[1]
    return term.op.type == "ZerosLike" or (term.op.type == "Const" and not tf.get_static_value(term).any())


def _outer_product(term: tf.Tensor) -> Pair | None:
    """Return x and u if the tensor is ``outer(x, u)``."""
    operation = term.op
    found: tuple[tf.Tensor, ...] = ()
    if operation.type == "MatMul":
        transposed = operation.get_attr("transpose_a"), operation.get_attr("transpose_b")
        found = tuple(operation.inputs) if transposed == (True, False) else ()
    elif operation.type == "Sum" and operation.inputs[0].op.type == "Mul":
        spread = [value.op for value in operation.inputs[0].op.inputs]
        axes = [operation.inputs[1], *(each.inputs[1] for each in spread if each.type == "ExpandDims")]
        if [np.ravel(tf.get_static_value(axis)).tolist() for axis in axes] == [[0], [2], [1]]:
            found = tuple(each.inputs[0] for each in spread)
    known = [value for value in found if value.shape.rank == 2 and value.shape.is_fully_defined()]
    return (known[0], known[1]) if len(known) == 2 and known[0].shape[0] == known[1].shape[0] else None


def _scaled(value: tf.Tensor, scales: Scales) -> tf.Tensor:
    for scale in scales:
        value *= scale
    return value


def _joined(parts: list[tf.Tensor]) -> tf.Tensor:
    return parts[0] if len(parts) == 1 else tf.concat(parts, 0)
