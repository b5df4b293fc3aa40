"""The whole benchmark: measurements, tables, CSV, and a figure for each question."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from ...harness.console import console, say
from ...harness.figures import drawing
from ...harness.invocation import installation
from ...harness.runs.files import make_plain_folder, write_bytes
from . import commands, devices, figures
from .measure import Measurement, ProgramError, side_by_side
from .workload import Size

OURS = ("metalearn", "checkpointed")
"""Prefixes of the names of programs that must not fail."""

TRAINING = {
    "metalearn": "tensorflow",
    "JAX, jit of scan": "jax",
    "torch.func, compiled": "torch",
    "learn2learn style": "torch",
    "higher": "higher",
    "TorchOpt": "torchopt",
}
"""Programs that train the default learner, and the package that each needs (all in extra ``benchmark``)."""

SIZES = {"metalearn, sizes": "tensorflow", "JAX, sizes": "jax"}
"""Programs that train at any size, in the same form."""

IMAGES = {
    "metalearn, conv4": "tensorflow",
    "PyTorch, loop over tasks": "torch",
    "PyTorch, vmap": "torch",
    "JAX, jit of vmap": "jax",
}
"""Programs that train on images, in the same form."""

BILEVEL = {"metalearn": "tensorflow", "PyTorch": "torch", "TorchOpt": "torchopt", "Betty": "betty"}

PENALTIES, WEIGHTS = (
    {f"{name}, {kind}": needs for name, needs in BILEVEL.items()} for kind in ("penalties", "weights")
)
"""Programs that learn hyperparameters, in the same form."""

ESTIMATORS = dict.fromkeys(
    ("checkpointed", "unrolled", "truncated, window 1", "first_order", "reptile", "implicit, proximal 2"),
    "tensorflow",
)
"""Programs that compute meta-gradients, in the same form."""

WORKLOADS = (
    ("training", "width", TRAINING, "an iteration of training, {steps} inner steps"),
    ("sizes", Size._fields, SIZES, "an iteration of training, {steps} inner steps, {size}, on one core"),
    ("steps", "width", SIZES, "an iteration of training, {steps} inner steps, width {size}, on one core"),
    ("images", "shots", IMAGES, "an iteration of training on images, {steps} inner steps, {size} shots"),
    (
        "bilevel",
        "examples",
        PENALTIES,
        "an iteration of penalties, {steps} inner steps, {size} examples",
    ),
    (
        "bilevel",
        "examples",
        WEIGHTS,
        "an iteration of weights, {steps} inner steps, {size} examples",
    ),
    ("estimators", "widths", ESTIMATORS, "a meta-gradient, {steps} inner steps, width {size}"),
)
"""Sections of the configuration, the setting of a workload's size, or several that are varied one at a time,
programs, and what tables say."""

ON_ONE_CORE = ("sizes", "steps")
"""Sections whose programs are compared on one core of the CPU."""

TIMES = ["microseconds", "cpu_microseconds"]
"""Columns of a measurement that have a value for each round."""


def benchmark(config: dict[str, Any]) -> int:
    """Run the benchmark, store it in ``<paths.runs>/benchmark/<time>/``, and return the exit code.

    Raises:
        UsageError: before anything is measured, if there is no such device or the folder cannot be made.
    """
    device = config["device"]
    devices.require(device)
    place = Path(config["paths"]["runs"]) / "benchmark" / time.strftime("%Y-%m-%d_%H-%M-%S")
    make_plain_folder(place.parent)
    place.mkdir()
    groups: dict[str, list[tuple[str, list[Measurement]]]] = {}
    for section, title, group in itertools.chain(_programs(config), _commands(config)):
        console.print(_table(title, group, device))
        groups.setdefault(section, []).append((title, group))
    found = [row for each in groups.values() for _, group in each for row in group]
    if sized := [row for row in found if row.program in SIZES]:
        console.print(_summary(sized, device))
    needed = [pair for _, _, programs, _ in WORKLOADS for pair in programs.items()]
    missing = [name for name, needs in needed if not importlib.util.find_spec(needs)]
    if missing:
        say(f"not installed, so left out: {', '.join(missing)} ({installation('benchmark')})")
    if found:
        write_bytes(place / "benchmark.csv", _csv(found, device).encode())
    for section, each in groups.items():
        rows = [row for _, group in each for row in group]
        figure = figures.estimators(rows) if section == "estimators" else figures.compared(each)
        if figure is not None:
            drawing.save(figure, place / section)
    say(f"kept in {place}")
    return int(any(row.failure and row.program.startswith(OURS) for row in found))


Group = tuple[str, str, list[Measurement]]
"""The section of the configuration, a title, and programs that were measured in turn."""


def _programs(config: dict[str, Any]) -> Iterator[Group]:
    """Measure all workloads."""
    for section, size, programs, what in WORKLOADS:
        settings = config[section]
        there = [name for name, needs in programs.items() if importlib.util.find_spec(needs)]
        for each, steps in itertools.product(_sizes(settings, size), settings["inner_steps"]):
            with console.status(f"{len(there)} programs, {steps} inner steps, size {each}"):
                cores = 1 if section in ON_ONE_CORE and config["device"] == "cpu" else None
                limits = config["limit_seconds"], config["device"], cores
                group = side_by_side(there, steps, each, settings["rounds"], *limits)
            yield section, what.format(steps=steps, size=each), group


def _commands(config: dict[str, Any]) -> Iterator[Group]:
    """Measure starts and workers, which are processes of their own on the CPU."""
    start, workers = config["start"], config["workers"]
    for steps, which in itertools.product(start["inner_steps"], commands.STARTS):
        with console.status(f"{which} starts, {steps} inner steps"):
            measure = functools.partial(
                commands.starts, which, steps, start["rounds"], config["limit_seconds"]
            )
            yield "start", f"a {which} start, {steps} inner steps", _measured(measure)
    for count in workers["counts"]:
        with console.status(f"a training on images by {count} workers"):
            measure = functools.partial(commands.shared, count, workers["iterations"], workers["rounds"])
            yield "workers", f"{workers['iterations']} iterations, {count} workers", _measured(measure)


def _measured(measure: Callable[[], list[Measurement]]) -> list[Measurement]:
    try:
        return measure()
    except ProgramError as failed:
        return [Measurement(commands.COMMAND, 0, commands.WIDTH, failure=str(failed))]


def _sizes(settings: dict[str, Any], size: str | tuple[str, ...]) -> list[int | str]:
    if isinstance(size, tuple):
        return [f"{name}={value}" for name in size for value in settings[name]]
    return settings[size] if isinstance(settings[size], list) else [settings[size]]


def _table(title: str, group: list[Measurement], device: str) -> Table:
    """Return a table of programs that were measured together; ratios are relative to the first.

    Processor time is not shown if it does not measure the program, which runs on a GPU or as a whole command.
    """
    with_cpu = device == "cpu" and any(np.isfinite(row.cpu_microseconds).any() for row in group)
    shown = 1 + with_cpu
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("program")
    for heading in ("median", *("times the first", "CPU time")[:shown], "compile s", "MB"):
        table.add_column(heading, justify="right")
    for row in group:
        if row.failure:
            table.add_row(row.program, "failed", row.failure[:60])
            continue
        spreads = ("", "") if row is group[0] else tuple(map(_spread, figures.quartiles(row, group[0])))
        numbers = _time(row.median), *spreads[:shown], f"{row.compile_seconds:.1f}", f"{row.megabytes:.0f}"
        table.add_row(row.program, *(number.replace("nan", "-") for number in numbers))
    ratios = "time and of CPU time" if with_cpu else "time"
    table.caption = f"ratios of {ratios}: median and quartiles over rounds, in each of which all run"
    return table


def _time(microseconds: float) -> str:
    """Return a time with three digits in a unit that suits it."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} µs"


def _summary(found: list[Measurement], device: str) -> Table:
    """Return a table with a line for each size: our time, and the others' as multiples of it.

    It is processor time on a CPU and wall time on a GPU.
    """
    place, title = (1, "CPU time of an iteration by size") if device == "cpu" else (0, "time by size")
    table = Table(title=title, title_justify="left", caption_justify="left")
    for heading in ("size", "inner steps", "µs", *list(SIZES)[1:]):
        table.add_column(heading, justify="left" if heading == "size" else "right")
    first = [row for row in found if row.program.startswith(OURS) and not row.failure]
    for ours in first:
        others = [
            row for row in found if (row.steps, row.size) == (ours.steps, ours.size) and row is not ours
        ]
        times = [row.failure[:30] or _spread(figures.quartiles(row, ours)[place]) for row in others]
        table.add_row(
            str(ours.size), str(ours.steps), f"{np.median(getattr(ours, TIMES[place])):.0f}", *times
        )
    return table


def _spread(quartiles: np.ndarray) -> str:
    low, middle, high = quartiles
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _csv(found: list[Measurement], device: str) -> str:
    """Return a row for each round of each program, and one row for each program that failed."""
    lines = pd.DataFrame(row._asdict() for row in found).explode(TIMES)
    rounds = lines.groupby(level=0).cumcount().astype("Int64")
    lines.insert(lines.columns.get_loc(TIMES[0]), "round", rounds.where(lines["failure"] == ""))
    lines["device"] = device
    return lines.to_csv(index=False)
