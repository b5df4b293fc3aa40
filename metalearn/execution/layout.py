"""The layout of a program over inner steps: whether the loop over steps or over tasks is the outer one.

A program is a function of a :class:`Layout`, which applies functions of one task and loops over steps. The
same program runs once for all tasks or once for each task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn.execution.choice import NotVectorizableError, chosen, resolved
from metalearn.execution.loops import Body, fold, scan
from metalearn.execution.low_rank import are_represented
from metalearn.execution.task_map import map_tasks
from metalearn.types import Problem, Structure

FUSED_STEPS = 5
"""Up to this number of inner steps, XLA fuses across them; beyond, the graph has a loop."""

Program = Callable[..., Any]
"""``program(layout, *arguments)``: for all tasks if the layout maps, for one task if it calls."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The loops of a program.

    Attributes:
        each: ``each(function, *arguments)`` applies a function of one task: with a map over tasks, or with a
            call if the program itself is within a map.
        in_graph: whether the loop over steps is in the graph, or a Python loop.
        traced: whether the body of a Python loop is traced once, with the step as a tensor, and called in
            each step; otherwise the graph contains a copy of it for each.
    """

    each: Callable[..., Any]
    in_graph: bool
    traced: bool = False

    def fold(self, body: Body, carry: Structure, length: int) -> Structure:
        """See :func:`metalearn.execution.loops.fold`."""
        return fold(self._once(body), carry, length, in_graph=self.in_graph)

    def scan(self, body: Body, carry: Structure, length: int) -> tuple[Structure, Callable[[Any], Structure]]:
        """See :func:`metalearn.execution.loops.scan`."""
        return scan(self._once(body), carry, length, in_graph=self.in_graph)

    def back(
        self,
        body: Callable[..., Structure],
        before: Callable[[Any], Structure],
        carry: Structure,
        end: int,
        length: int,
    ) -> Structure:
        """Apply ``carry = body(before(step), carry, step)`` for ``length`` steps from ``end - 1`` down.

        ``before`` is the second result of :meth:`scan`.
        """
        of_step = self._once(body)

        def visit(carry: Structure, index: Any) -> Structure:
            step = end - 1 - index
            return of_step(before(step), carry, step)

        return fold(visit, carry, length, in_graph=self.in_graph)

    def _once(self, function: Callable[..., Structure]) -> Callable[..., Structure]:
        if not self.traced:
            return function
        calls = tf.function(function, autograph=False)
        return lambda *arguments: calls(*tf.nest.map_structure(tf.convert_to_tensor, arguments))


def run(problem: Problem, program: Program, *arguments: Structure, fused: bool = True) -> Any:
    """Run a program over the inner steps on every task.

    ==========  ===========================  ==============  ========================================
    layout      steps                        mapping         loops
    ==========  ===========================  ==============  ========================================
    called      from 2 to ``FUSED_STEPS``    vectorized      one map a step, which is traced once and
                                                             called for each; XLA inlines the calls and
                                                             fuses across steps
    fused       1; or as many, if kernels    vectorized      one map of all steps
                are products, or a step
                needs its number in Python
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

    if mapping == "vectorized" and in_graph:
        return program(Layout(over_tasks, True), *arguments)
    if mapping == "vectorized" and problem.steps > 1 and not are_represented():
        try:
            return program(Layout(over_tasks, False, traced=True), *arguments)
        except NotVectorizableError:
            raise
        except Exception:  # noqa: BLE001 - of any kind, if a rule or a loss reads the number of a step
            pass
    within = Layout(_call, in_graph)
    return over_tasks(lambda *of_one_task: program(within, *of_one_task), *arguments)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
