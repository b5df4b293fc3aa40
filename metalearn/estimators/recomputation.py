"""Binomial checkpointing: a backward pass over many steps that stores only a few states."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count
from metalearn.execution.loops import Body
from metalearn.types import Structure

Stored = list[tf.TensorArray]
"""The stored states, one array for each leaf."""

Checkpoints: TypeAlias = "Literal['all', 'sqrt', 'log'] | int"
"""The number of states of the inner loop that are stored at a time."""

PER_DOUBLING = 10
"""The states of ``"log"`` for each doubling of the steps; ten thousand steps are then repeated once each."""


class Schedule(NamedTuple):
    """A backward pass with a few stored states, as constant arrays of integers.

    Move m advances the loop from step ``begin[m]`` to ``end[m]`` and stores the state there in ``slot[m]``.
    Before the i-th reversed step, K - 1 - i, the moves from ``first[i]`` to ``first[i + 1]`` are made one
    after the other, starting from the state in ``source[i]``. The moves of ``first[0]`` are the forward pass,
    whose last move ends at K. The slot after the stored states, ``slots - 1``, is for the current state.

    Attributes:
        begin: ``[M]``.
        end: ``[M]``.
        slot: ``[M]``.
        first: ``[K+1]``.
        source: ``[K]``.
        reversed_from: ``[K]``, the slot with the state before the reversed step.
        slots: the number of states that are stored at a time.
    """

    begin: np.ndarray[Any, Any]
    end: np.ndarray[Any, Any]
    slot: np.ndarray[Any, Any]
    first: np.ndarray[Any, Any]
    source: np.ndarray[Any, Any]
    reversed_from: np.ndarray[Any, Any]
    slots: int


def require_checkpoints(checkpoints: object) -> None:
    """Raise ValueError unless ``checkpoints`` is a number of states or the name of one."""
    if isinstance(checkpoints, str):
        if checkpoints not in ("all", "sqrt", "log"):
            raise ValueError(
                f"checkpoints must be 'all', 'sqrt', 'log' or a number of states, got {checkpoints!r}"
            )
        return
    require_count("checkpoints (or 'all', 'sqrt', 'log')", checkpoints)


def stored_states(checkpoints: Checkpoints, steps: int) -> int:
    """Return how many states are stored at a time, at most as many as there are steps.

    ``"sqrt"`` stores ``sqrt(2 K)`` states, with which no step is taken more than twice before it is reversed;
    ``"log"`` stores :data:`PER_DOUBLING` for each doubling of K.
    """
    if checkpoints == "all" or steps < 2:
        return steps
    if checkpoints == "sqrt":
        return min(steps, math.ceil(math.sqrt(2 * steps)))
    if checkpoints == "log":
        return min(steps, PER_DOUBLING * math.ceil(math.log2(steps)))
    return min(steps, int(checkpoints))


@functools.lru_cache(maxsize=16)
def schedule(steps: int, states: int) -> Schedule:
    """Return the backward pass over ``steps`` with ``states`` stored states, which include the first one.

    It takes the smallest possible number of steps, ``r K - C(s + r, r - 1)`` and one to the end, where r is
    the smallest number with ``C(s + r, r) >= K``.

    Args:
        steps: K, at least 1.
        states: s, at least 1.

    Reference: Griewank and Walther (2000), "Algorithm 799: Revolve", section 3.
    """
    moves: list[tuple[int, int, int]] = []
    first, source, reversed_from, stored = [0], [], [], [0]
    for last in range(steps - 1, -1, -1):
        while stored[-1] > last:
            stored.pop()
        at, held = stored[-1], len(stored) - 1
        source.append(held)
        while at < last:
            free = states - len(stored)
            to = at + _advance(last + 1 - at, free + 1) if free else last
            held = len(stored) if free else states
            moves.append((at, to, held))
            if free:
                stored.append(to)
            at = to
        reversed_from.append(held)
        if last == steps - 1:
            # The current state may be the one that is reversed first, so the end has its own slot.
            moves.append((last, steps, states + 1))
        first.append(len(moves))
    begin, end, slot = np.array(moves, np.int32).T
    return Schedule(
        begin,
        end,
        slot,
        np.array(first, np.int32),
        np.array(source, np.int32),
        np.array(reversed_from, np.int32),
        states + 2,
    )


def _advance(steps: int, states: int) -> int:
    """Return after how many of ``steps`` the next state is stored; ``states`` include the first one.

    With r as in :func:`schedule`, m is optimal if it is in ``[beta(s, r-2), beta(s, r-1)]`` and the rest is
    in ``[beta(s-1, r-1), beta(s-1, r)]``, where ``beta(s, r) = C(s + r, s)``; this is the smallest such m.
    """
    repeats = 1
    while math.comb(states + repeats, states) < steps:
        repeats += 1
    least = math.comb(states + repeats - 2, states) if repeats > 1 else 1
    return max(least, steps - math.comb(states - 1 + repeats, repeats), 1)


def forward(body: Body, start: Structure, plan: Schedule) -> tuple[Structure, Stored]:
    """Return the state after all steps and the stored states; the loop is in the graph.

    Args:
        body: ``(state, step) -> state``.
        start: the state before the first step.
        plan: the schedule of all steps.
    """
    stored = [
        tf.TensorArray(leaf.dtype, size=plan.slots, element_shape=leaf.shape, clear_after_read=False)
        for leaf in tf.nest.flatten(start)
    ]
    stored = _moved(body, start, _write(stored, 0, start), plan, 0, int(plan.first[1]))
    return _read(stored, plan.slots - 1, start), stored


def backward(
    body: Body,
    reverse: Callable[[Structure, Structure, tf.Tensor], Structure],
    stored: Stored,
    state: Structure,
    carry: Structure,
    plan: Schedule,
) -> Structure:
    """Return ``carry`` after ``reverse(state before step k, carry, k)`` for every k, the last one first.

    Args:
        body: ``(state, step) -> state``, as for :func:`forward`.
        reverse: the function that takes the carry backward through a step.
        stored: the stored states from :func:`forward`.
        state: any state, for its structure.
        carry: nested tensors.
        plan: the schedule of all steps.
    """
    # The moves before the first reversed step were those of the forward pass.
    moves = np.concatenate([plan.first[1:2], plan.first[1:]])
    steps = len(plan.source)

    def one(index: tf.Tensor, stored: Stored, carry: Structure) -> tuple[tf.Tensor, Stored, Structure]:
        begun = _read(stored, tf.gather(plan.source, index), state)
        stored = _moved(body, begun, stored, plan, tf.gather(moves, index), tf.gather(moves, index + 1))
        before = _read(stored, tf.gather(plan.reversed_from, index), state)
        return index + 1, stored, reverse(before, carry, steps - 1 - index)

    *_, carry = tf.while_loop(
        lambda index, *_: index < steps, one, (tf.constant(0), stored, carry), maximum_iterations=steps
    )
    return carry


def _moved(
    body: Body, state: Structure, stored: Stored, plan: Schedule, begin: int | tf.Tensor, end: int | tf.Tensor
) -> Stored:
    """Return the stored states after the moves from ``begin`` to ``end``, which start from ``state``."""

    def move(index: tf.Tensor, state: Structure, stored: Stored) -> tuple[tf.Tensor, Structure, Stored]:
        until = tf.gather(plan.end, index)
        _, state = tf.while_loop(
            lambda step, _: step < until,
            lambda step, state: (step + 1, body(state, step)),
            (tf.gather(plan.begin, index), state),
        )
        return index + 1, state, _write(stored, tf.gather(plan.slot, index), state)

    return tf.while_loop(lambda index, *_: index < end, move, (tf.convert_to_tensor(begin), state, stored))[2]


def _write(stored: Stored, slot: int | tf.Tensor, state: Structure) -> Stored:
    return [array.write(slot, leaf) for array, leaf in zip(stored, tf.nest.flatten(state), strict=True)]


def _read(stored: Stored, slot: int | tf.Tensor, like: Structure) -> Structure:
    return tf.nest.pack_sequence_as(like, [array.read(slot) for array in stored])
