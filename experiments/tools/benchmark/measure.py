"""Measurement of programs: all are started, then each is called in turn, round after round."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ...harness.app.quiet import VARIABLES
from ...harness.cache.compiled import VARIABLE
from . import devices

WORKER = f"{__package__}.worker"

PAUSE = 0.5
"""Seconds to wait before a call, because idle threads of the previous program still use the processor."""


class Measurement(NamedTuple):
    """The measurements of a program.

    Attributes:
        program: the name of the program.
        steps: the number of inner steps.
        size: the size of the workload: width of the hidden layers, support images of a class, or
            ``"tasks=100"``.
        microseconds: the time of an iteration, an entry for each round; empty if the program failed.
        cpu_microseconds: likewise, the processor time of all threads together.
        compile_seconds: the time of the first call, minus that of a later one.
        megabytes: the growth of its peak memory since before it was built.
        failure: why there is nothing to report; empty if there is.
    """

    program: str
    steps: int
    size: int | str
    microseconds: np.ndarray = np.empty(0)
    cpu_microseconds: np.ndarray = np.empty(0)
    compile_seconds: float = np.nan
    megabytes: float = np.nan
    failure: str = ""

    @property
    def median(self) -> float:
        """Median over rounds, in microseconds per iteration; NaN if the program failed."""
        return float(np.median(self.microseconds)) if not self.failure else float("nan")


def side_by_side(
    programs: list[str],
    steps: int,
    size: int | str,
    rounds: int,
    limit_seconds: float,
    device: str,
    cores: int | None = None,
) -> list[Measurement]:
    """Measure programs in turn; one that fails or takes too long to start is reported as such.

    Args:
        programs: the names of programs, see :data:`experiments.tools.benchmark.worker.MODULES`.
        steps: the number of inner steps.
        size: the size of the workload, see :class:`Measurement`.
        rounds: the number of timed calls of each.
        limit_seconds: the time limit of a first call, with imports and compilation.
        device: the device that they run on, see :mod:`.devices`.
        cores: the number of cores that they may use; None for all.
    """
    running = {name: Worker(name, steps, size, device, cores=cores) for name in programs}
    firsts: dict[str, dict[str, float]] = {}
    failures: dict[str, str] = {}
    try:
        for name, worker in running.items():  # one compiles at a time
            try:
                firsts[name] = worker.call(limit_seconds)
            except ProgramError as failed:
                failures[name] = str(failed)
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in firsts}
        for _ in range(rounds):
            for name, found in rows.items():
                time.sleep(PAUSE)
                found.append(running[name].call(limit_seconds))
    finally:
        for worker in running.values():
            worker.stop()
    return [
        Measurement(name, steps, size, failure=failures[name])
        if name in failures
        else _measurement(name, steps, size, firsts[name], rows[name])
        for name in programs
    ]


def _measurement(
    name: str, steps: int, size: int | str, first: dict[str, float], rows: list[dict[str, float]]
) -> Measurement:
    seconds = np.array([row["seconds"] for row in rows])
    return Measurement(
        name,
        steps,
        size,
        microseconds=1e6 * seconds / rows[0]["iterations"],
        cpu_microseconds=1e6 * np.array([row["cpu_seconds"] for row in rows]) / rows[0]["iterations"],
        compile_seconds=first["seconds"] - float(np.median(seconds)),
        megabytes=rows[-1]["megabytes"],
    )


def on_cores(count: int | None) -> list[str]:
    """Return the beginning of a command that may use the first cores of this process only; None for all."""
    return ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[:count]))] if count else []


class ProgramError(Exception):
    """A program without a result, and the reason."""


class Worker:
    """A program in a process of its own.

    Args:
        name, steps, size, device: see :func:`side_by_side`.
        variables: environment variables that it has in addition.
        cores: see :func:`side_by_side`.
    """

    def __init__(
        self,
        name: str,
        steps: int,
        size: int | str,
        device: str,
        variables: Mapping[str, str] = MappingProxyType({}),
        cores: int | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [*on_cores(cores), sys.executable, "-m", WORKER, name, str(steps), str(size), device],
            # Threads are TensorFlow's alone.
            env={**VARIABLES, **os.environ, VARIABLE: "off", **devices.environment(device), **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, limit_seconds: float) -> dict[str, float]:
        """Let the program run once and return what it measured of itself."""
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        try:
            stdin.write("\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; what it wrote says why
        with selectors.DefaultSelector() as ready:
            ready.register(stdout, selectors.EVENT_READ)
            if not ready.select(limit_seconds):
                raise ProgramError(f"no result within {limit_seconds:.0f} s")
        line = stdout.readline()
        if not line:
            lines = stderr.read().strip().splitlines()
            raise ProgramError(lines[-1] if lines else f"ended with code {self._process.wait()}")
        return json.loads(line)

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
