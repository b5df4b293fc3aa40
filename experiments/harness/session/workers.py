"""Runs that are divided among processes: workers started by a cluster, or by the command itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import metalearn as ml

from ..app.interrupts import DEFAULTS, SIGNALS, interruptible
from ..config.build import failing_as
from ..console import console
from ..errors import FAILED, UsageError
from ..runs import code, identity
from ..runs.identity import Config
from . import cluster, gpus

PATIENCE_SECONDS = {True: 5, False: 60}
"""Seconds for other processes to end after one has: after the chief, or after another worker."""


def count(config: Config) -> int:
    """Return the number of workers that share a run."""
    return int(config["training"].get("workers", 1))


def unstarted(config: Config) -> bool:
    """Return whether a run is to be shared by workers that have not been started."""
    return count(config) > 1 and cluster.find(count(config)) is None


def joined(config: Config) -> ml.workers.Workers | None:
    """Join the workers that the environment names; None for a run of a single process.

    Raises:
        UsageError: if their number is not ``training.workers``, or TensorFlow has been used before.
    """
    found = cluster.find(count(config)) if count(config) > 1 else None
    if found is None:
        return None
    try:
        gpus.take_one(found)
        workers = ml.workers.join(found)
    except (ValueError, RuntimeError) as error:  # TensorFlow's, of GPUs that are in use
        raise UsageError(f"training.workers={count(config)}: {error}") from error
    console.quiet = console.quiet or workers.index > 0
    return workers


@contextmanager
def together(config: Config, trainer: ml.MetaTrainer, workers: ml.workers.Workers | None) -> Iterator[bool]:
    """Train with the other workers within the context; yield whether this process is the chief.

    Raises:
        UsageError: if a worker was started with other settings or other code.
    """
    with ExitStack() as stack:
        try:
            if workers is not None:
                described = identity.training(config), code.describe(config)["digest"]
                workers.require_equal("configuration or code", repr(described))
            leads = stack.enter_context(trainer.together())
        except ValueError as error:
            raise UsageError(f"training.workers: {error}") from error
        yield leads


def follow(config: Config, trainer: ml.MetaTrainer, workers: ml.workers.Workers) -> int:
    """Follow the chief to the end of its run; return the exit code."""
    with interruptible(lambda: None), together(config, trainer, workers):
        return 0


def start(config: Config, order: Mapping[str, Any]) -> int:
    """Start workers as processes of this machine, and wait for them; return the chief's exit code.

    Signals to this process are passed to the chief, which stops the others. The workers share its cores: if
    each could use all of them, they would take turns on all, which is a tenth slower.

    Args:
        config: the configuration of the run.
        order: the line that they execute, see :mod:`.worker`.

    Raises:
        UsageError: if they cannot share its tasks equally, or there are fewer GPUs than workers.
    """
    number = count(config)
    with failing_as("training"):
        ml.workers.Workers(count=number).share(config["training"]["meta_batch_size"])
    devices, ports = gpus.environments(number), _free_ports(number)
    order = {**order, "quiet": console.quiet}
    cores = _shares(number)
    started = [
        _started(index, ports, devices[index], {**order, "cores": cores[index]}) for index in range(number)
    ]
    chief = started[0]
    ours = [each for each in SIGNALS if signal.getsignal(each) in DEFAULTS]
    previous = {each: signal.signal(each, lambda number, _: chief.send_signal(number)) for each in ours}
    try:
        _wait(started)
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
        for process in started:
            process.kill()
            process.communicate()
    return chief.returncode if chief.returncode >= 0 else FAILED


def _shares(number: int) -> list[list[int]]:
    """Return the cores of each worker: equal parts of those that this process may use, or all of them."""
    if not hasattr(os, "sched_getaffinity"):  # Linux has it
        return [[]] * number
    cores = sorted(os.sched_getaffinity(0))
    size = len(cores) // number
    return [cores[index * size : (index + 1) * size] or cores for index in range(number)]


def _wait(started: list[subprocess.Popen[bytes]]) -> None:
    """Return when all processes have ended, or after a time limit from the first end."""
    chief, until = started[0], float("inf")
    while any(process.poll() is None for process in started) and time.monotonic() < until:
        ended = chief.poll() is not None
        if ended or any(process.poll() for process in started):
            until = min(until, time.monotonic() + PATIENCE_SECONDS[ended])
        time.sleep(0.05)


def _started(
    index: int, ports: list[int], devices: Mapping[str, str], order: Mapping[str, Any]
) -> subprocess.Popen[bytes]:
    addresses = [f"localhost:{port}" for port in ports]
    described = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    process = subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.worker"],
        env={**os.environ, **devices, "TF_CONFIG": json.dumps(described)},
        stdin=subprocess.PIPE,
        start_new_session=True,  # the terminal's Ctrl-C comes by way of this process
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(order).encode() + b"\n")
    process.stdin.flush()
    return process


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]
