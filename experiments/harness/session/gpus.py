"""GPUs of a machine for its workers: each of them computes on one."""

from __future__ import annotations

import os

import tensorflow as tf

from ..errors import UsageError

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable that lists the GPUs of a process, by number or identifier."""


def environments(workers: int) -> list[dict[str, str]]:
    """Return the variables that assign a GPU to each worker of this machine; empty if there are no GPUs.

    Raises:
        UsageError: if there are fewer GPUs than workers.
    """
    gpus = len(tf.config.list_physical_devices("GPU"))
    if not gpus:
        return [{}] * workers
    _require(gpus, workers)
    listed = os.environ.get(VISIBLE, "")
    names = listed.split(",") if listed else [str(gpu) for gpu in range(gpus)]
    return [{VISIBLE: names[index]} for index in range(workers)]


def take_one(cluster: tf.distribute.cluster_resolver.ClusterResolver) -> None:
    """Let this worker see one of its GPUs, if it sees several: others on the same machine take the others.

    Raises:
        UsageError: if it sees several, but fewer than there are workers on this machine.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) < 2:  # none, or the one that was chosen for it
        return
    hosts = [address.rpartition(":")[0] for address in cluster.cluster_spec().as_dict()["worker"]]
    own = hosts[cluster.task_id]
    _require(len(gpus), hosts.count(own))
    tf.config.set_visible_devices(gpus[hosts[: cluster.task_id].count(own)], "GPU")


def _require(gpus: int, workers: int) -> None:
    if workers > gpus:
        raise UsageError(
            f"training.workers: {workers} workers of this machine need a GPU each, but there are {gpus}: set "
            f"training.workers={gpus}, or {VISIBLE}=-1 to train on the CPU"
        )
