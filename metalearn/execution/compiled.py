"""Compiled functions: with XLA or without, vectorised or one task after the other, as can be built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metalearn.execution.choice import NotVectorizableError, auto_is, log_once, said
from metalearn.execution.traced import Variables, exported, facts_of, imported
from metalearn.types import Structure, TaskMapping

OF_COMPILERS = (
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
    tf.errors.NotFoundError,
    tf.errors.InternalError,
)
"""Errors of operations that a compiler lacks. After other errors, such as of memory, no other compiler is
tried, as its results have other bits."""


class Compiled:
    """A function as one program; mapping and compiler are chosen by building it with all derivatives.

    ==========  ============  ==================================================================
    mapping     compiler      used
    ==========  ============  ==================================================================
    vectorized  XLA           if it can be built
    vectorized  TensorFlow    if XLA lacks an operation or its derivative
    sequential  TensorFlow    if an operation has no vectorised form, such as a convolution whose
                              filters differ by task: TensorFlow's kernels do these as fast as
                              XLA's, without its compile time
    ==========  ============  ==================================================================

    A choice other than the first is logged. Given settings are not changed: if the program cannot be built
    with them, an error is raised.

    Args:
        function: a function of nested tensors, whose maps over tasks have the mapping ``"auto"`` or another
            one.
        mapping: the mapping of the function's maps.
        jit_compile: whether to compile with XLA; None for the choice of the table.

    Attributes:
        mapping: the mapping in use; before :meth:`build` or the first call the given one.
        jit_compile: the compiler in use; before :meth:`build` or the first call the given one.
    """

    def __init__(
        self, function: Callable[..., Any], mapping: TaskMapping = "auto", jit_compile: bool | None = None
    ) -> None:
        self.mapping, self.jit_compile = mapping, jit_compile
        self._function = function
        self._ways = _ways(mapping, jit_compile)
        self._errors: list[Exception] = []
        self._program: Any = None
        self._has_run = False
        self._notice = ""

    def __call__(self, *arguments: Any) -> Any:
        """Call the program with arguments that have the structure, shapes and types of the first call.

        Raises:
            ValueError: if XLA was requested and cannot compile the function.
            Exception: the exceptions of the function.
        """
        self.build(*arguments)
        try:
            with auto_is(self.mapping):  # arguments of other shapes are traced anew
                returned = self._program(*arguments)
        except OF_COMPILERS as error:  # XLA compiles at the first call
            if self._has_run or not self.jit_compile:
                raise
            self._errors.append(error)
            self._program = None
            return self(*arguments)
        self._has_run = True
        return returned

    def build(self, *arguments: Any) -> None:
        """Trace the first remaining choice that can be traced for such arguments, unless one has been."""
        while self._program is None and self._ways:
            mapping, jit_compile = self._ways.pop(0)
            if mapping == "vectorized" and any(map(_is_final, self._errors)):
                continue
            program = tf.function(self._function, jit_compile=jit_compile, autograph=False)
            try:
                with auto_is(mapping):
                    program.get_concrete_function(*arguments)
            except Exception as error:  # noqa: BLE001 - raised again if no other choice can be built
                self._errors.append(error)
                continue
            self._program, self.mapping, self.jit_compile = program, mapping, jit_compile
            if self._errors:
                self._notice = f"{_described(mapping, jit_compile)}, for {_reason(self._errors[-1])}"
                log_once(self._notice)
        if self._program is None:
            raise self._final_error()

    def exported(self, arguments: tuple[Any, ...], variables: Variables) -> bytes | None:
        """Return the traced program for :meth:`use` in another process, or None if it cannot be stored.

        Args:
            arguments: those that it is built for.
            variables: all variables that it may read and update, by name.
        """
        self.build(*arguments)
        with auto_is(self.mapping):
            program = self._program.get_concrete_function(*arguments)
        way = {"mapping": self.mapping, "jit_compile": self.jit_compile, "notice": self._notice}
        return exported(program, variables, way)

    def use(self, content: bytes, like: Callable[..., Structure] | None, variables: Variables) -> None:
        """Use the result of :meth:`exported` of an equal function in place of tracing this one.

        Args:
            content: the stored program.
            like: see :func:`metalearn.execution.traced.imported`.
            variables: the variables of this process, by the same names.
        """
        facts = facts_of(content)
        self.mapping, self.jit_compile, self._notice = facts["mapping"], facts["jit_compile"], facts["notice"]
        way = self.mapping, self.jit_compile
        if way in self._ways:  # those after it remain
            del self._ways[: self._ways.index(way) + 1]
        self._program = imported(content, like, variables)
        if self._notice:
            log_once(self._notice)

    def _final_error(self) -> Exception:
        """Return the error to raise if no choice is left: the first one, which the function itself caused."""
        first = self._errors[0]
        if not isinstance(first, tf.errors.OpError) or not self.jit_compile:
            return first
        reason = ValueError(
            f"XLA cannot compile this program ({said(first)}): omit jit_compile, or set it to False"
        )
        reason.__cause__ = first
        return reason


def _ways(mapping: TaskMapping, jit_compile: bool | None) -> list[tuple[TaskMapping, bool]]:
    mappings: list[TaskMapping] = ["vectorized", "sequential"] if mapping == "auto" else [mapping]
    ways: list[tuple[TaskMapping, bool]] = [
        ("vectorized", True),
        ("vectorized", False),
        ("sequential", False),
        ("sequential", True),
    ]
    if jit_compile is None:
        return [way for way in ways[:3] if way[0] in mappings]
    return [way for way in ways if way[0] in mappings and way[1] == jit_compile]


def _is_final(error: Exception) -> bool:
    """Return whether a program has no vectorised form even without XLA."""
    return isinstance(error, NotVectorizableError) and not error.under_xla


def _reason(error: Exception) -> str:
    return "XLA cannot compile the program" if isinstance(error, tf.errors.OpError) else said(error)


def _described(mapping: TaskMapping, jit_compile: bool) -> str:
    tasks = "all tasks at once" if mapping == "vectorized" else "one task after the other"
    return f"{tasks}, compiled {'with' if jit_compile else 'without'} XLA"
