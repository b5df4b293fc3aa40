"""How a program over inner steps is laid out: which loop is outside, the one over steps or over tasks.

Programs are written once, as functions of ``each`` and ``in_graph``. ``each(function, *arguments)`` applies
a function of one task, and ``in_graph`` says which loop runs over the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metalearn.types import Structure

FUSED_STEPS = 5
"""Up to so many inner steps, one map over tasks holds them all; beyond, the loop is in the graph."""

Each = Callable[..., Any]
"""``each(function, *arguments)``: apply a function of one task, by calling it or by mapping it over tasks."""

Program = Callable[..., Any]
"""``program(each, in_graph, *arguments)``: of one task if ``each`` calls, of all tasks if it maps."""


def run(problem: Any, program: Program, *arguments: Structure, fused: bool = True) -> Any:
    """Run a program over the inner steps on every task.

    ==========================  ==============  =======================================================
    steps                       mapping         layout
    ==========================  ==============  =======================================================
    up to ``FUSED_STEPS``       vectorized      one map of all steps: XLA fuses across steps
    more, or not ``fused``      vectorized      a loop in the graph, one map a step: compile time and
                                                memory for activations do not grow with the steps
    any                         sequential      a loop over tasks around the loop over steps
    ==========================  ==============  =======================================================

    Args:
        problem: its ``steps`` and ``mapping`` decide.
        program: ``(each, in_graph, *arguments) -> nested tensors``.
        *arguments: nested tensors with a leading ``[T]``.
        fused: whether a few steps may be fused.

    Returns:
        What the program returns, with a leading ``[T]``.
    """
    in_graph = problem.steps > FUSED_STEPS or not fused
    if in_graph and problem.mapping == "vectorized":
        return program(problem.map, True, *arguments)
    return problem.map(lambda *of_one_task: program(_call, in_graph, *of_one_task), *arguments)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
