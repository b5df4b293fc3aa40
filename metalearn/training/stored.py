"""What a trainer shares with those of other processes: its program, and the check of derivatives."""

from __future__ import annotations

import json

import tensorflow as tf

from metalearn.problems.learner import Posed
from metalearn.problems.second_derivatives import SecondDerivatives, check_second_derivatives
from metalearn.problems.stored import Stored
from metalearn.training.arguments import Arguments
from metalearn.training.program import Program
from metalearn.training.sharded import Calls, parts_of


class Known:
    """The stored results of one trainer.

    Args:
        stored: what is stored of its learner, or None if nothing is.
        posed: the learner's problem for one task.
    """

    def __init__(self, stored: Stored | None, posed: Posed) -> None:
        self._stored, self._posed = stored, posed
        self._used = False

    def derivatives(self) -> SecondDerivatives:
        """Return the result of the check of derivatives at the present phi and task.

        Raises:
            ValueError: see :func:`metalearn.problems.check_second_derivatives`.
        """
        if self._stored is None:
            return check_second_derivatives(self._posed)
        leaves = tf.nest.flatten((self._posed.phi, self._posed.tasks))
        values = (tf.io.serialize_tensor(leaf).numpy() for leaf in leaves)
        key = self._stored.key("derivatives", *values)
        known = self._stored.cache.get(key)
        if known is not None:
            return SecondDerivatives(*json.loads(known))
        found = check_second_derivatives(self._posed)
        if found.certain:  # otherwise every process says so
            self._stored.cache[key] = json.dumps(found).encode()
        return found

    def build(self, calls: Calls, program: Program, given: Arguments) -> None:
        """Trace the parts of a program, or take them from the cache, at the first call.

        They are not stored with a projection, whose operations are not known before.

        Args:
            calls: the program in compiled form.
            program: the program.
            given: arguments of the shapes and types of all calls.
        """
        if self._used:
            return
        self._used = True
        for part in parts_of(calls, program, given):
            if self._stored is None or program.projection is not None:
                part.program.build(*part.arguments)
            else:
                settings = program.settings(), part.name
                self._stored.build(part.program, part.arguments, settings, program.variables(), part.like)
