"""What a source of tasks is: an object that draws tasks as a pure function of a seed."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from metalearn.types import Seed, Task


@runtime_checkable
class Source(Protocol):
    """A source of tasks. Only :meth:`sample` is required.

    Attributes that a source may have besides:

    - ``in_graph``: False if ``sample`` has to be called eagerly, because it runs Python or NumPy; True if
      it is not there.
    - ``constant``: True if there is only one task, so that ``sample`` does not depend on the seed; False if
      it is not there.
    - ``spec(tasks)``: the shapes and types of ``sample(seed, tasks)`` as a Task of ``tf.TensorSpec``; a
      source in the graph is traced instead if it is not there.
    - ``split(part)``: the source of ``"train"``, ``"validation"`` or ``"test"``, where the same source holds
      all three.
    - ``fingerprint(seed, tasks)``: bytes that tell draws apart, where they cost less than all that
      ``sample(seed, tasks)`` returns; for the digest of a long list of evaluation tasks.
    - ``prefetch``: how many draws to make ahead, see :func:`metalearn.sources.prefetched`.
    """

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw ``tasks`` tasks: the same seed gives the same tasks, eagerly and in a graph.

        Args:
            seed: two integers; the second counts from 0 in training, and from -1 downwards for evaluation
                tasks.
            tasks: T, at least 1.

        Returns:
            A task whose leaves have a leading axis ``[T, ...]``.
        """
        ...


def runs_in_graph(source: Any) -> bool:
    """Return whether ``source.sample`` can be traced into a graph."""
    return bool(getattr(source, "in_graph", True))


def is_constant(source: Any) -> bool:
    """Return whether ``source.sample`` gives the same task for every seed, and says so."""
    return bool(getattr(source, "constant", False))


def describe(source: Any) -> str:
    """Return what messages call a source."""
    return getattr(source, "__name__", None) or type(source).__name__
