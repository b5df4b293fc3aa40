"""Launchers of sweeps: a job requests what its workers need."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

from omegaconf import DictConfig

from ..errors import UsageError


def make_room(launcher: DictConfig, workers: Collection[int]) -> None:
    """Let the jobs of a launcher request what their workers need, in its configuration.

    If the number of cores is not set, it is that of the largest number of workers; if it is set, it has to
    suffice.

    Args:
        launcher: ``hydra.launcher``, which is changed.
        workers: the different numbers of workers of the jobs.

    Raises:
        UsageError: if a setting is not sufficient.
    """
    request = REQUESTS.get(str(launcher.get("_target_")).rpartition(".")[2])
    if request is not None:
        request(launcher, workers)


def _joblib(launcher: DictConfig, workers: Collection[int]) -> None:
    """Run as many jobs at a time as there are cores for their workers, if they are to use all cores."""
    if max(workers) > 1 and launcher.get("n_jobs", -1) == -1:
        from joblib import effective_n_jobs

        launcher.n_jobs = max(1, effective_n_jobs(-1) // max(workers))


def _ray(launcher: DictConfig, workers: Collection[int]) -> None:
    most, remote, init = max(workers), launcher.ray.remote, launcher.ray.init
    if most == 1:
        return
    if remote.get("num_cpus") is None:
        remote.num_cpus = most
    _require("ray.remote.num_cpus", remote.num_cpus, most, "cores")
    _require("ray.remote.num_gpus", remote.get("num_gpus") or most, most, "GPUs")
    own = init.get("address") is None and "RAY_ADDRESS" not in os.environ
    cores = init.get("num_cpus") or os.cpu_count() or most
    if own and remote.num_cpus > cores:
        raise UsageError(
            f"training.workers={most}: Ray would wait forever for {remote.num_cpus} cores, but there are "
            f"{cores} here: set training.workers={cores}, or hydra.launcher.ray.init.address to a cluster"
        )


def _submitit_local(launcher: DictConfig, workers: Collection[int]) -> None:
    """A job is one task, which starts its workers, or a task for each worker."""
    tasks = launcher.nodes * launcher.tasks_per_node
    if tasks > 1 and set(workers) != {tasks}:
        raise UsageError(
            f"hydra.launcher: nodes={launcher.nodes} and tasks_per_node={launcher.tasks_per_node} make "
            f"{tasks} tasks of a job, but training.workers={','.join(map(str, sorted(workers)))}: make both "
            "equal, or use one task for each job, which starts its workers on its machine"
        )
    on_node = max(workers) if tasks == 1 else launcher.tasks_per_node
    _require("gpus_per_node", launcher.get("gpus_per_node") or on_node, on_node, "GPUs on a node")


def _slurm(launcher: DictConfig, workers: Collection[int]) -> None:
    _submitit_local(launcher, workers)
    of_task = max(workers) if launcher.nodes * launcher.tasks_per_node == 1 else 1
    launcher.cpus_per_task = launcher.cpus_per_task or of_task
    _require("cpus_per_task", launcher.cpus_per_task, of_task, "cores")
    _require("gpus_per_task", launcher.gpus_per_task or of_task, of_task, "GPUs")


def _require(name: str, given: object, needed: int, what: str) -> None:
    if isinstance(given, int | float) and given < needed:
        raise UsageError(
            f"hydra.launcher.{name}={given} is less than the {needed} {what} that training.workers needs: "
            f"set hydra.launcher.{name}={needed}"
        )


REQUESTS: dict[str, Callable[[DictConfig, Collection[int]], None]] = {
    "JoblibLauncher": _joblib,
    "RayLauncher": _ray,
    "LocalLauncher": _submitit_local,
    "SlurmLauncher": _slurm,
}
"""By the classes of launchers, which only their own packages define. Other launchers are not changed."""
