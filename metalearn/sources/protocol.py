"""The protocol of sources, which draw tasks as a pure function of a seed."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from metalearn.types import Seed, Task


@runtime_checkable
class Source(Protocol):
    """A source of tasks. Only :meth:`sample` is required.

    Optional attributes of a source:

    - ``in_graph``: False if ``sample`` has to be called eagerly, because it runs Python or NumPy; True by
      default.
    - ``constant``: True if there is only one task, so that ``sample`` does not depend on the seed; False by
      default.
    - ``spec(tasks)``: the shapes and types of ``sample(seed, tasks)`` as a Task of ``tf.TensorSpec``; a
      source in the graph is traced by default.
    - ``split(part)``: the source of ``"train"``, ``"validation"`` or ``"test"``, if the source contains all
      three.
    - ``fingerprint(seed, tasks)``: bytes that identify a draw at a lower cost than ``sample(seed, tasks)``,
      for the digest of a long list of evaluation tasks.
    - ``extremes``: the smallest and the largest targets of all data, two nests of integers (zero for targets
      of other types), so that losses check the range of classes that may be rare in the first tasks.
    - ``divisible``: True if ``sample`` runs in the graph and makes all draws with
      :func:`metalearn.random.by_task`, so that each of several workers computes its own tasks only; False by
      default.
    - ``prefetch``: the number of draws to make in advance, see :func:`metalearn.sources.prefetched`.
    """

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw ``tasks`` tasks: the same seed gives the same tasks, eagerly and in a graph.

        Args:
            seed: two integers; the second is 0, 1, ... for training tasks and -1, -2, ... for evaluation
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
    """Return whether a source declares that ``sample`` returns the same task for every seed."""
    return bool(getattr(source, "constant", False))


def is_divisible(source: Any) -> bool:
    """Return whether a source can draw a share of a meta-batch without the rest."""
    return bool(getattr(source, "divisible", False))


def describe(source: Any) -> str:
    """Return the name of a source in messages."""
    return getattr(source, "__name__", None) or type(source).__name__
