"""A program in a separate process, which is called by lines of standard input and reports its time.

``python -m experiments.tools.benchmark.worker <program> <inner steps> <size> <device>``: for every line on
standard input, one call, and on standard output a line of JSON. The first call compiles.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

from ...harness.app.quiet import import_tensorflow
from ...harness.cache import compiled
from . import devices
from .workload import Size, parsed

MODULES = {
    "metalearn": "metalearn_program:build",
    "JAX, jit of scan": "jax_program:build",
    "metalearn, sizes": "metalearn_program:build",
    "JAX, sizes": "jax_program:build",
    "torch.func, compiled": "torch_programs:torch_func",
    "learn2learn style": "torch_programs:learn2learn_style",
    "higher": "torch_programs:higher",
    "TorchOpt": "torch_programs:torchopt",
    "metalearn, conv4": "images_metalearn:build",
    "PyTorch, loop over tasks": "images_torch:loop",
    "PyTorch, vmap": "images_torch:vmap",
    "JAX, jit of vmap": "images_jax:build",
    "metalearn, penalties": "hyperparameters_metalearn:penalties",
    "PyTorch, penalties": "hyperparameters_torch:penalties_by_hand",
    "TorchOpt, penalties": "hyperparameters_torch:penalties_torchopt",
    "Betty, penalties": "hyperparameters_torch:penalties_betty",
    "metalearn, weights": "hyperparameters_metalearn:weights",
    "PyTorch, weights": "hyperparameters_torch:weights_by_hand",
    "TorchOpt, weights": "hyperparameters_torch:weights_torchopt",
    "Betty, weights": "hyperparameters_torch:weights_betty",
    "checkpointed": "estimator_programs:checkpointed",
    "unrolled": "estimator_programs:unrolled",
    "truncated, window 1": "estimator_programs:truncated",
    "first_order": "estimator_programs:first_order",
    "reptile": "estimator_programs:reptile",
    "implicit, proximal 2": "estimator_programs:implicit",
}
"""The location of each program: ``module:function``."""


def main(name: str, steps: int, size: int | Size, device: str) -> None:
    """Execute calls until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries may print
    if os.environ.get(compiled.VARIABLE, "off") != "off":
        import_tensorflow()  # as the commands do, with their cache
    module, _, function = MODULES[name].partition(":")
    with_library = importlib.import_module(f"{__package__}.{module}")
    devices.require_in_use(device, sys.modules)
    before, started = _peak_megabytes(), time.perf_counter()
    program = getattr(with_library, function)(steps, size)
    built = time.perf_counter() - started
    for _ in sys.stdin:
        start, cpu_start = time.perf_counter(), time.process_time()
        loss = program.run()
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        row = {"seconds": seconds, "cpu_seconds": cpu_seconds, "iterations": program.iterations, "loss": loss}
        row["built"] = built
        compiled.keep()  # before this process is killed
        answers.write(json.dumps({**row, "megabytes": _peak_megabytes() - before}) + "\n")
        answers.flush()


def _peak_megabytes() -> float:
    """Return this process's peak memory; getrusage would include that of the parent."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), parsed(sys.argv[3]), sys.argv[4])
