"""The arguments of a training's program, which are the same for one process and for several workers."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from metalearn.training.carrying import Carried
from metalearn.types import Task


class Arguments(NamedTuple):
    """The arguments of a call of the program.

    Attributes:
        block: the tasks of the iterations of a block, ``[stored, T, ...]``.
        seed: the seed of the training. It is an argument, so that trainings with other seeds have the same
            program.
        first: the first iteration.
        count: the number of iterations.
        keep: whether the updates are kept.
        carried: the carried state before the first iteration.
    """

    block: Task
    seed: tf.Tensor
    first: tf.Tensor
    count: tf.Tensor
    keep: tf.Tensor
    carried: Carried
