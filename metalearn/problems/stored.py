"""Traced programs of learners, which processes share instead of tracing them again.

Programs depend on code and on versions of libraries, which are not considered here, and on the operations
that a learner's functions of one task consist of, which are traced for this purpose. Their constants are a
part of them, so a value that a function has read from a file makes a difference. Only the derivative of a
custom derivative (``tf.custom_gradient`` within another) is not seen. A training detects it by its comparison
with eager execution, which is never stored; a diagnosis, which has no such comparison, does not.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras
import tensorflow as tf

from metalearn.execution.compiled import Compiled
from metalearn.execution.programs import kept
from metalearn.nn.names import named_variables
from metalearn.problems.learner import Learner, operations
from metalearn.types import Meta, Structure, Task

ADDRESS = " at 0x"
"""A part of the description of an object that does not describe its settings."""


class Cache(Protocol):
    """Stored results by digests of what they depend on, for example a dict."""

    def get(self, key: str, /) -> bytes | None: ...

    def __setitem__(self, key: str, content: bytes, /) -> None: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """What is stored of one learner.

    Attributes:
        cache: the results of all learners of the same code.
        learner: the learner.
        meta: any meta-parameters, of which only structure, shapes and types are used.
        example: tasks ``[T, ...]``, likewise, as of all tasks that programs are used for.
        steps: the largest number of inner steps of programs; that of training by default.
    """

    cache: Cache
    learner: Learner
    meta: Meta
    example: Task
    steps: int | None = None

    def key(self, kind: str, *parts: bytes) -> str:
        """Return the key of what depends on the learner's functions, on the devices and on ``parts``."""
        devices = [device.device_type for device in tf.config.list_logical_devices()]
        config = keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()
        around = repr((tf.__version__, keras.__version__, devices, config)).encode()
        digests = (hashlib.sha256(part).digest() for part in (around, self._operations, *parts))
        return f"{kind}-{hashlib.sha256(b''.join(digests)).hexdigest()}"

    def build(
        self,
        program: Compiled,
        arguments: tuple[Any, ...],
        settings: tuple[Any, ...],
        updated: Mapping[str, keras.Variable],
        like: Callable[..., Structure] | None = None,
    ) -> None:
        """Trace a program, or take it from the cache. It is added if it can be stored.

        It cannot if it captures other tensors than variables, or if its settings have no description.

        Args:
            program: the program.
            arguments: arguments of it, or their shapes and types.
            settings: all that it depends on beside the learner's functions and the arguments.
            updated: the variables that it may read and update, by name, beside those of the model.
            like: returns a structure that equals that of the results, given the arguments; None if the
                results are a dict of tensors.
        """
        variables = {**updated, **self._read}
        used = [(name, each.shape, each.dtype) for name, each in variables.items()]
        way = program.mapping, program.jit_compile, type(self.learner).__qualname__, self.learner.estimator
        described = repr((settings, way, _shapes(arguments), used))
        if ADDRESS in described or tf.config.functions_run_eagerly():
            program.build(*arguments)
            return
        key = self.key("program", described.encode())
        content = self.cache.get(key)
        if content is None:
            content = program.exported(arguments, variables)
            if content is None:
                return
            self.cache[key] = content
        # Also if it was traced here, because XLA's cache knows it by the name that it has in other processes.
        program.use(content, like, variables)

    @functools.cached_property
    def _operations(self) -> bytes:
        one = tf.nest.map_structure(lambda leaf: leaf[:1], self.example)
        shapes = _shapes((self.meta, one))
        make = functools.partial(operations, self.learner, self.meta, one, self.steps)
        return bytes(kept(self.learner, (operations, self.steps, shapes), make))

    @functools.cached_property
    def _read(self) -> dict[str, keras.Variable]:
        """The variables of the learner's model, by names that every process has."""
        model = getattr(getattr(self.learner, "learner", self.learner), "model", None)
        read = named_variables(model) if isinstance(model, keras.Model) else []
        return {f"model/{named.key}": named.variable for named in read}


def program(
    learner: Learner,
    function: Callable[..., dict[str, tf.Tensor]],
    *settings: Any,
    jit_compile: bool | None = None,
    stored: Stored | None = None,
) -> Callable[..., dict[str, tf.Tensor]]:
    """Return ``function(learner, *settings, ...)`` as a compiled function of nested tensors for eager calls.

    The learner keeps the programs, one for each combination of argument shapes, with the mapping and the
    compiler of the first. Within a graph nothing is compiled separately.

    Args:
        learner: the learner.
        function: a pure function at module level, so that it is the same object in every call.
        *settings: hashable arguments that are not tensors, with a description.
        jit_compile: see :class:`metalearn.execution.compiled.Compiled`.
        stored: what is stored of the learner; None if nothing is.
    """
    if not tf.executing_eagerly() or tf.config.functions_run_eagerly():
        return functools.partial(function, learner, *settings)
    programs: dict[str, Compiled] = kept(learner, (function, settings, jit_compile), dict)

    def call(*arguments: Structure) -> dict[str, tf.Tensor]:
        given = tf.nest.map_structure(tf.convert_to_tensor, arguments)
        shapes = _shapes(given)
        if shapes not in programs:
            first = next(iter(programs.values()), None)
            way = (learner.mapping, jit_compile) if first is None else (first.mapping, first.jit_compile)
            programs[shapes] = Compiled(functools.partial(function, learner, *settings), *way)
            if stored is not None:
                name = f"{function.__module__}.{function.__qualname__}", settings
                stored.build(programs[shapes], given, name, {})
        return programs[shapes](*given)

    return call


def _shapes(structure: Structure) -> str:
    """Return a description of a structure, with the shapes and types of its leaves."""
    return repr(tf.nest.map_structure(lambda leaf: (leaf.shape, leaf.dtype), structure))
