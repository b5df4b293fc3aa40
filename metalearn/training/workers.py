"""Processes that share the tasks of every meta-batch, each on its own cores or on a machine of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from metalearn.training.errors import WorkerLostError

GROUP = 1 << 20
"""The key of our group of devices: those of TensorFlow's strategies count from 1."""

WORD = np.dtype(np.int32)
"""What bits are added as where they have to stay as they are: -0.0 + 0.0 is not -0.0."""


def _alone(tensor: tf.Tensor) -> tf.Tensor:
    raise ValueError("this process has not joined its workers: take what metalearn.workers.join() returns")


@dataclasses.dataclass(frozen=True)
class Workers:
    """The workers of a training, and which of them this process is. Worker 0 is the chief.

    Attributes:
        index: of this process, from 0.
        count: of all.
        all_reduce: returns the sum over the workers of a tensor of one shape and type; all of them call it,
            in the same order.
    """

    index: int = 0
    count: int = 1
    all_reduce: Callable[[tf.Tensor], tf.Tensor] = _alone

    def share(self, tasks: int) -> int:
        """Return how many of an iteration's tasks are each worker's: the i-th of ``count`` equal parts.

        Raises:
            ValueError: if they cannot be shared equally.
        """
        if tasks % self.count:
            near = [number for number in (tasks - tasks % self.count, tasks + -tasks % self.count) if number]
            raise ValueError(
                f"meta_batch_size={tasks} cannot be shared by workers={self.count}: take a multiple of it, "
                f"such as {' or '.join(map(str, near))}"
            )
        return tasks // self.count

    def sum(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the sum over the workers.

        Raises:
            WorkerLostError: if one of them has ended.
        """
        try:
            return self.all_reduce(tensor)
        except tf.errors.OpError as error:
            raise WorkerLostError(self.index, self.count) from error

    def from_chief(self, arrays: Sequence[Any]) -> list[np.ndarray]:
        """Return the chief's arrays; those of the others say of what shapes and types they are."""
        return self._exchanged(arrays, None if self.index else 0, 1)[0]

    def gathered(self, arrays: Sequence[Any]) -> list[np.ndarray]:
        """Return the arrays of all workers, each ``[count, ...]``."""
        rows = self._exchanged(arrays, self.index, self.count)
        return [np.stack(each) for each in zip(*rows, strict=True)]

    def require_equal(self, what: str, value: str) -> None:
        """Raise ValueError unless all workers have the same, naming those that differ from the chief."""
        (found,) = self.gathered([np.frombuffer(hashlib.sha256(value.encode()).digest(), np.uint8)])
        others = [str(index) for index in range(self.count) if (found[index] != found[0]).any()]
        if others:
            raise ValueError(
                f"worker {', '.join(others)} has another {what} than the chief: start all {self.count} with "
                "the same settings and the same code"
            )

    def _exchanged(self, arrays: Sequence[Any], place: int | None, places: int) -> list[list[np.ndarray]]:
        """Return the arrays of every place, to which each is given by one worker, bit for bit."""
        given = [np.asarray(array) for array in arrays]
        own = b"".join(array.tobytes() for array in given)
        words = np.zeros([places, -(-len(own) // WORD.itemsize)], WORD)
        if place is not None:
            words[place] = np.frombuffer(own.ljust(words.shape[1] * WORD.itemsize, b"\0"), WORD)
        summed = self.sum(tf.constant(words)).numpy() if own else words
        ends = itertools.accumulate((array.nbytes for array in given), initial=0)
        bounds = list(itertools.pairwise(ends))
        return [
            [
                np.frombuffer(row.tobytes()[begin:end], array.dtype).reshape(array.shape)
                for array, (begin, end) in zip(given, bounds, strict=True)
            ]
            for row in summed
        ]


def join(cluster: tf.distribute.cluster_resolver.ClusterResolver | None = None) -> Workers:
    """Join the other workers, and wait for all of them to come: the first thing to do with TensorFlow.

    The all-reduce is that of :class:`tf.distribute.MultiWorkerMirroredStrategy`, over gRPC. Each worker's
    TensorFlow serves whoever reaches its port, without asking who that is: keep the ports within a network
    that you trust.

    Args:
        cluster: where the workers are, and which this is; what the variable ``TF_CONFIG`` says if not given.

    Raises:
        ValueError: if there is no cluster, or TensorFlow has been used before.
    """
    cluster = cluster or tf.distribute.cluster_resolver.TFConfigClusterResolver()
    jobs = cluster.cluster_spec().as_dict()
    if list(jobs) != ["worker"] or cluster.task_id is None:
        raise ValueError(
            f"workers need a cluster that names them all, and which of them this is; there is {jobs}: set "
            'TF_CONFIG=\'{"cluster": {"worker": ["host:port", "host:port"]}, '
            '"task": {"type": "worker", "index": 0}}\''
        )
    count, index = len(jobs["worker"]), int(cluster.task_id)
    if count == 1:
        return Workers()
    try:
        tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=cluster)
    except RuntimeError as error:
        raise ValueError(
            f"workers have to be joined before anything else is done with TensorFlow ({error}): call "
            "metalearn.workers.join() first, once a process"
        ) from error
    keys: dict[tuple[Any, ...], int] = {}

    def all_reduce(tensor: tf.Tensor) -> tf.Tensor:
        key = keys.setdefault((tensor.dtype, *tensor.shape), len(keys))  # alike on all: they call it in step
        return tf.raw_ops.CollectiveReduceV2(
            input=tensor,
            group_size=count,
            group_key=GROUP,
            instance_key=key,
            ordering_token=[],
            merge_op="Add",
            final_op="Id",
        )

    return Workers(index, count, all_reduce)
