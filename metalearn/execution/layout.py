"""The layout of a program over inner steps: whether the loop over steps or over tasks is the outer one.

A program is a function of a :class:`Layout`, which applies functions of one task and loops over steps. The
same program runs once for all tasks or once for each task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from metalearn.execution.choice import chosen, resolved
from metalearn.execution.loops import Body, fold, scan
from metalearn.execution.task_map import map_tasks
from metalearn.types import Problem, Structure

FUSED_STEPS = 5
"""Up to this number of inner steps, one map over tasks contains all of them; beyond, the graph has a loop."""

Program = Callable[..., Any]
"""``program(layout, *arguments)``: for all tasks if the layout maps, for one task if it calls."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The loops of a program.

    Attributes:
        each: ``each(function, *arguments)`` applies a function of one task: with a map over tasks, or with a
            call if the program itself is within a map.
        in_graph: whether the loop over steps is in the graph, or a Python loop that copies its body.
    """

    each: Callable[..., Any]
    in_graph: bool

    def fold(self, body: Body, carry: Structure, length: int) -> Structure:
        """See :func:`metalearn.execution.loops.fold`."""
        return fold(body, carry, length, in_graph=self.in_graph)

    def scan(self, body: Body, carry: Structure, length: int) -> tuple[Structure, Callable[[Any], Structure]]:
        """See :func:`metalearn.execution.loops.scan`."""
        return scan(body, carry, length, in_graph=self.in_graph)


def run(problem: Problem, program: Program, *arguments: Structure, fused: bool = True) -> Any:
    """Run a program over the inner steps on every task.

    ==========  ===========================  ==============  ========================================
    layout      steps                        mapping         loops
    ==========  ===========================  ==============  ========================================
    fused       up to ``FUSED_STEPS``        vectorized      one map of all steps: XLA fuses across
                                                             steps
    looped      more, or not ``fused``       vectorized      a loop in the graph, one map a step:
                                                             compile time and memory for activations
                                                             do not grow with the steps
    sequential  any                          sequential      a loop over tasks around the loop over
                                                             steps
    ==========  ===========================  ==============  ========================================

    The mapping ``"auto"`` is the first of these that can be built.

    Args:
        problem: the problem, whose ``steps`` and ``mapping`` determine the layout.
        program: ``(layout, *arguments) -> nested tensors``.
        *arguments: nested tensors with a leading ``[T]``.
        fused: whether few steps may be fused.

    Returns:
        The result of the program, with a leading ``[T]``.
    """
    mapping = resolved(problem.mapping)
    if mapping == "auto":
        return chosen(lambda: run(problem, program, *arguments, fused=fused))
    in_graph = problem.steps > FUSED_STEPS or not fused

    def over_tasks(function: Callable[..., Any], *arguments: Structure) -> Structure:
        return map_tasks(function, *arguments, mapping=mapping)

    if in_graph and mapping == "vectorized":
        return program(Layout(over_tasks, True), *arguments)
    within = Layout(_call, in_graph)
    return over_tasks(lambda *of_one_task: program(within, *of_one_task), *arguments)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
