"""Workers: processes on one or several machines that share the tasks of every meta-batch."""

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
"""The key of the group of devices; the keys of TensorFlow's strategies start from 1."""

WORD = np.dtype(np.int32)
"""The types in which bits are summed where they must not change: -0.0 + 0.0 is not -0.0."""


def _alone(tensor: tf.Tensor) -> tf.Tensor:
    raise ValueError("this process has not joined its workers: use the result of metalearn.workers.join()")


@dataclasses.dataclass(frozen=True)
class Workers:
    """The workers of a training, and the index of this process. Worker 0 is the chief.

    Attributes:
        index: the index of this process, from 0.
        count: the number of workers.
        all_reduce: returns the sum over the workers of a tensor of one shape and type. All workers have to
            make the same calls in the same order.
    """

    index: int = 0
    count: int = 1
    all_reduce: Callable[[tf.Tensor], tf.Tensor] = _alone

    def share(self, tasks: int) -> int:
        """Return the number of tasks of each worker, which takes the i-th of ``count`` equal parts.

        Raises:
            ValueError: if the tasks cannot be divided equally.
        """
        if tasks % self.count:
            near = [number for number in (tasks - tasks % self.count, tasks + -tasks % self.count) if number]
            raise ValueError(
                f"meta_batch_size={tasks} cannot be divided by workers={self.count}: use a multiple of it, "
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
        """Return the chief's arrays; the other workers pass arrays of the same shapes and types."""
        return self._exchanged(arrays, None if self.index else 0, 1)[0]

    def gathered(self, arrays: Sequence[Any]) -> list[np.ndarray]:
        """Return the arrays of all workers, each ``[count, ...]``."""
        rows = self._exchanged(arrays, self.index, self.count)
        return [np.stack(each) for each in zip(*rows, strict=True)]

    def require_equal(self, what: str, value: str) -> None:
        """Raise ValueError unless all workers have the same value, naming those different from the chief."""
        (found,) = self.gathered([np.frombuffer(hashlib.sha256(value.encode()).digest(), np.uint8)])
        others = [str(index) for index in range(self.count) if (found[index] != found[0]).any()]
        if others:
            raise ValueError(
                f"worker {', '.join(others)} has another {what} than the chief: start all {self.count} with "
                "the same settings and the same code"
            )

    def _exchanged(self, arrays: Sequence[Any], place: int | None, places: int) -> list[list[np.ndarray]]:
        """Return the arrays of every place, each from the one worker that fills the place, bit for bit."""
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
    """Connect to the other workers and wait for all of them, before any other use of TensorFlow.

    The all-reduce is that of :class:`tf.distribute.MultiWorkerMirroredStrategy`, over gRPC. Each worker's
    TensorFlow server accepts every connection to its port without authentication: keep the ports within a
    network that you trust.

    Args:
        cluster: the addresses of the workers and the index of this one; read from ``TF_CONFIG`` by default.

    Raises:
        ValueError: if there is no cluster, TensorFlow has been used before, or another process has the port.
    """
    cluster = cluster or tf.distribute.cluster_resolver.TFConfigClusterResolver()
    jobs = cluster.cluster_spec().as_dict()
    if list(jobs) != ["worker"] or cluster.task_id is None:
        raise ValueError(
            f"workers need a cluster with their addresses and the index of this one, got {jobs}: set "
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
            f"workers have to be joined before any other use of TensorFlow ({error}): call "
            "metalearn.workers.join() first, once in each process"
        ) from error
    except tf.errors.UnknownError as error:
        raise ValueError(
            f"worker {index} cannot listen at {jobs['worker'][index]} ({error.message}): end the process "
            "that uses this port, or give another one"
        ) from error
    keys: dict[tuple[Any, ...], int] = {}

    def all_reduce(tensor: tf.Tensor) -> tf.Tensor:
        key = keys.setdefault((tensor.dtype, *tensor.shape), len(keys))  # equal, as all make the same calls
        with tf.device("CPU:0"):  # from where gRPC sends, whatever the devices
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
