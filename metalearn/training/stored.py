"""What trainers of several processes share instead of computing it again: traced programs and checks.

Both depend on code and on versions of libraries, which are not considered here, and on the operations that a
task's functions consist of, which are traced for this purpose. Their constants are a part of them, so a value
that a function has read from a file makes a difference. Only the derivative of a custom derivative
(``tf.custom_gradient`` within another) is not seen. The comparison with eager execution, which is never
stored, detects it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Protocol

import keras
import tensorflow as tf

from metalearn.execution.compiled import Compiled
from metalearn.problems.learner import Posed, operations
from metalearn.problems.second_derivatives import SecondDerivatives, check_second_derivatives
from metalearn.training.arguments import Arguments
from metalearn.training.program import Program
from metalearn.training.sharded import Part, Sharded, parts_of

ADDRESS = " at 0x"
"""A part of the description of an object that does not describe its settings."""


class Cache(Protocol):
    """Stored results by digests of what they depend on, for example a dict."""

    def get(self, key: str, /) -> bytes | None: ...

    def __setitem__(self, key: str, content: bytes, /) -> None: ...


class Known:
    """The stored results of one trainer.

    Args:
        cache: the results of all trainers of the same code, or None if nothing is stored.
        posed: the learner's problem for one task.
    """

    def __init__(self, cache: Cache | None, posed: Posed) -> None:
        self._cache, self._posed = cache, posed
        self._operations = b"" if cache is None else operations(posed)
        self._used = False

    def derivatives(self) -> SecondDerivatives:
        """Return the result of the check of derivatives at the present phi and task.

        Raises:
            ValueError: see :func:`metalearn.problems.check_second_derivatives`.
        """
        if self._cache is None:
            return check_second_derivatives(self._posed)
        leaves = tf.nest.flatten((self._posed.phi, self._posed.tasks))
        key = self._key("derivatives", *(tf.io.serialize_tensor(leaf).numpy() for leaf in leaves))
        known = self._cache.get(key)
        if known is not None:
            return SecondDerivatives(*json.loads(known))
        found = check_second_derivatives(self._posed)
        if found.certain:  # otherwise every process says so
            self._cache[key] = json.dumps(found).encode()
        return found

    def build(self, calls: Compiled | Sharded, program: Program, given: Arguments) -> None:
        """Trace the parts of a program, or take them from the cache, at the first call.

        They are not stored with a projection, if they capture other tensors than the variables of the
        optimizers and the model, or if the estimator's description has no settings.

        Args:
            calls: the program in compiled form.
            program: the program.
            given: arguments of the shapes and types of all calls.
        """
        if self._used:
            return
        self._used = True
        for part in parts_of(calls, program, given):
            if not self._found(part, program):
                part.program.build(*part.arguments)

    def _found(self, part: Part, program: Program) -> bool:
        """Return whether a part can be stored, after using what is or has been stored."""
        if self._cache is None or program.projection is not None or tf.config.functions_run_eagerly():
            return False
        variables, tensors = program.variables(), tf.nest.flatten(part.arguments)
        updated = [(name, each.shape, each.dtype) for name, each in variables.items()]
        way = part.name, part.program.mapping, part.program.jit_compile, self._posed.problem.steps
        given = [(leaf.shape, leaf.dtype) for leaf in tensors]
        settings = repr((program.settings(), way, given, updated))
        if ADDRESS in settings:
            return False
        key = self._key("program", settings.encode())
        content = self._cache.get(key)
        if content is None:
            content = part.program.exported(part.arguments, variables)
            if content is None:
                return False
            self._cache[key] = content
        # Also if it was traced here, because XLA's cache knows it by the name that it has in other processes.
        part.program.use(content, part.like, variables)
        return True

    def _key(self, kind: str, *parts: bytes) -> str:
        devices = [device.device_type for device in tf.config.list_logical_devices()]
        config = keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()
        around = repr((tf.__version__, keras.__version__, devices, config)).encode()
        digests = (hashlib.sha256(part).digest() for part in (around, self._operations, *parts))
        return f"{kind}-{hashlib.sha256(b''.join(digests)).hexdigest()}"
