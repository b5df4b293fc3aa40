"""The cluster that a process belongs to, as ``TF_CONFIG``, Slurm or submitit describe it."""

from __future__ import annotations

import itertools
import os
import re
from typing import NamedTuple, TypeAlias

import tensorflow as tf

from ..config.build import failing_as
from ..errors import UsageError

FIRST_PORT, PORTS = 20000, 10000
"""The ports of job steps, below those that Linux gives to outgoing connections."""

Resolver: TypeAlias = tf.distribute.cluster_resolver.ClusterResolver


class Step(NamedTuple):
    """The tasks that a launcher has started together, and the place of this process among them.

    Attributes:
        launcher: the name of the launcher in messages.
        tasks: the number of tasks on each node, by the node's name, in the launcher's order.
        node: the index of the node of this process.
        local: the index of this process among the tasks of its node.
        number: the number of the job and its step, which differs between steps that share nodes.
    """

    launcher: str
    tasks: dict[str, int]
    node: int
    local: int
    number: int

    def resolver(self) -> Resolver:
        """Return the cluster, node after node; Slurm's ranks may be distributed cyclically instead."""
        most = max(self.tasks.values())
        port = FIRST_PORT + self.number * most % PORTS
        worker = [f"{host}:{port + local}" for host, count in self.tasks.items() for local in range(count)]
        index = sum(list(self.tasks.values())[: self.node]) + self.local
        spec = tf.train.ClusterSpec({"worker": worker})
        return tf.distribute.cluster_resolver.SimpleClusterResolver(
            spec, "", "worker", index, rpc_layer="grpc"
        )


def find(number: int) -> Resolver | None:
    """Return the cluster that ``TF_CONFIG`` or a job step of several tasks describes; None if there is none.

    Raises:
        UsageError: if it does not consist of this number of workers.
    """
    if "TF_CONFIG" in os.environ:
        with failing_as("TF_CONFIG"):
            where, cluster = "TF_CONFIG", tf.distribute.cluster_resolver.TFConfigClusterResolver()
            cluster.cluster_spec()
    elif (step := _step()) is not None:
        where, cluster = step.launcher, step.resolver()
    else:
        return None
    found = cluster.cluster_spec().as_dict()
    if list(found) != ["worker"] or len(found["worker"]) != number:
        there = ", ".join(f"{len(tasks)} {job}" for job, tasks in found.items()) or "no worker"
        raise UsageError(f"training.workers={number}, but {where} has {there}: make both equal")
    return cluster


def _step() -> Step | None:
    given = os.environ
    if int(given.get("SUBMITIT_LOCAL_NTASKS", 1)) > 1:
        tasks, local = int(given["SUBMITIT_LOCAL_NTASKS"]), int(given["SUBMITIT_LOCAL_LOCALID"])
        return Step("submitit", {"localhost": tasks}, 0, local, int(given["SUBMITIT_LOCAL_JOB_ID"]))
    if int(given.get("SLURM_STEP_NUM_TASKS", 1)) < 2:
        return None
    with failing_as("Slurm's environment (SLURM_STEP_NODELIST, SLURM_STEP_TASKS_PER_NODE)"):
        hosts = host_names(given["SLURM_STEP_NODELIST"])
        tasks_of = dict(zip(hosts, task_counts(given["SLURM_STEP_TASKS_PER_NODE"]), strict=True))
        node, local = int(given["SLURM_NODEID"]), int(given["SLURM_LOCALID"])
        # Jobs with consecutive numbers are tasks of one array, and steps of one job run side by side, too.
        number = int(given.get("SLURM_JOB_ID", 0)) + 101 * int(given.get("SLURM_STEP_ID", 0))
        return Step("Slurm", tasks_of, node, local, number)


def host_names(nodes: str) -> list[str]:
    """Return the names in a list of Slurm, ``n[1-2,07],m`` as ``n1, n2, n07, m``, in its order.

    TensorFlow's ``SlurmClusterResolver`` sorts them, ``n10`` before ``n9``, and gives tasks the addresses of
    others.
    """
    found: list[str] = []
    for part in re.findall(r"(?:\[[^\]]*\]|[^,\[])+", nodes):
        pieces = re.split(r"\[(.*?)\]", part)
        choices = [_numbers(piece) if place % 2 else [piece] for place, piece in enumerate(pieces)]
        found += map("".join, itertools.product(*choices))
    return found


def _numbers(ranges: str) -> list[str]:
    found: list[str] = []
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        found += [str(each).zfill(len(first)) for each in range(int(first), int(last or first) + 1)]
    return found


def task_counts(counts: str) -> list[int]:
    """Return the number of tasks of every node, which Slurm writes as ``2(x3),1``."""
    pairs = [re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part) for part in counts.split(",")]
    if None in pairs:
        raise ValueError(f"{counts} does not count tasks")
    return [int(pair[1]) for pair in pairs if pair for _ in range(int(pair[2] or 1))]
