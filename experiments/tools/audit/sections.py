"""Further tables of the audit: losses by targets, operations, and pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from metalearn.autodiff.culprits import KNOWN

from .operations import operations
from .orders import Orders, measure_orders
from .pooling import CASES, Pooled, measure_pooling
from .targets import ByTargets, losses_of_targets, measure_targets


class Section(NamedTuple):
    """A further table of the audit.

    Attributes:
        title: of the section.
        cases: what to measure, when called.
        measure: of one case, to a row.
        markdown: of all rows, to a table and what it shows.
        columns: of the table in the terminal.
        cells: of one row.
    """

    title: str
    cases: Callable[[], Iterable[Any]]
    measure: Callable[[Any], Any]
    markdown: Callable[[Sequence[Any]], str]
    columns: tuple[str, ...]
    cells: Callable[[Any], tuple[str, ...]]


def of_targets(rows: Sequence[ByTargets]) -> str:
    """Return a line for each loss without correct derivatives by its targets, then the other losses."""
    right = [row.name for row in rows if not row.fault]
    return (
        f"{len(rows)} losses with targets that are real numbers: gradients with respect to the targets, and "
        "their derivatives with respect to the outputs (mixed), which learned targets need, compared with "
        "differences in float64.\n\n"
        + _table([(row.fault, row.name) for row in rows if row.fault], [("exact", right)], "derivative")
    )


def of_operations(rows: Sequence[Orders]) -> str:
    """Return a line for each function with wrong derivatives, then the other functions."""
    right = [row.case.name for row in rows if not row.fault and not row.is_constant]
    single = {row.case.name for row in rows if row.case.single}
    constant = [row.case.name for row in rows if row.is_constant]
    labelled = [
        ("exact to the third", [name for name in right if name not in single]),
        ("exact to the second, in float32", [name for name in right if name in single]),
        ("0: piecewise constant", constant),
    ]
    return (
        f"{len(rows)} functions of `keras.ops` and TensorFlow as operations: first, second and third "
        "derivatives, each compared with differences of the previous one; the first wrong or missing one is "
        "named. `keras.ops`, `tf.nn`, `tf.math` and `tf.linalg` were searched for functions of matrices; "
        "others are listed by hand.\n\n"
        + _table([(row.fault, row.case.name) for row in rows if row.fault], labelled, "derivative")
    )


def of_pooling(rows: Sequence[Pooled]) -> str:
    """Return a line for each kind of pooling, with the error of each kind of program."""
    lines = ["| pooling | in | eager | graph, mapped | XLA, mapped |", "|---|---|---|---|---|"]
    for row in rows:
        found = (row.eager, *row.mapped.values())
        remedy = "" if all(map(row.is_exact, found)) else _remedy(row.name)
        errors = " | ".join(_error(row, error) for error in found)
        lines.append(f"| `{row.name}`{remedy} | {row.precision} | {errors} |")
    return (
        "Meta-gradients after two inner steps of a convolution, normalisation and pooling: tasks one after "
        "the other (compared with differences of the meta-loss), and by `vectorized_map` (compared with the "
        "former). The losses are equal in all programs. The size of an error under XLA depends on the "
        "program.\n\n" + "\n".join(lines) + "\n"
    )


SECTIONS = (
    Section(
        "Losses with respect to their targets",
        losses_of_targets,
        measure_targets,
        of_targets,
        ("name", "derivatives by targets", "gradient", "mixed"),
        lambda row: (row.name, row.fault or "exact", f"{row.gradient:.0e}", f"{row.mixed:.0e}"),
    ),
    Section(
        "Operations",
        operations,
        measure_orders,
        of_operations,
        ("name", "derivatives", "errors"),
        lambda row: (
            row.case.name,
            row.fault or ("constant" if row.is_constant else "exact"),
            " ".join(f"{error:.0e}" for error in row.errors),
        ),
    ),
    Section(
        "Pooling in every program",
        lambda: CASES,
        lambda case: measure_pooling(*case),
        of_pooling,
        ("name", "in", "eager", "graph, mapped", "XLA, mapped"),
        lambda row: (
            row.name,
            row.precision,
            *(_error(row, error).replace("*", "") for error in (row.eager, *row.mapped.values())),
        ),
    ),
)


def _table(faults: Sequence[tuple[str, str]], right: Sequence[tuple[str, Sequence[str]]], what: str) -> str:
    lines = [f"| {what} | of |", "|---|---|"]
    lines += [f"| **{fault}** | `{name}`{_remedy(name)} |" for fault, name in faults]
    lines += [f"| {label} | {', '.join(f'`{name}`' for name in names)} |" for label, names in right if names]
    return "\n".join(lines) + "\n"


def _remedy(name: str) -> str:
    """Return the remedy for a known faulty operation; ``x ** 2`` and ``tf.math.pow`` are the same one."""
    known = KNOWN.get(name.partition(" (")[0])
    return f"; {known.remedy}" if known else ""


def _error(row: Pooled, error: float | str) -> str:
    if isinstance(error, str):
        return f"**none: {error}**"
    percent = float(f"{100 * error:.2g}")  # two digits, but 380 and not 3.8e+02
    return "exact" if row.is_exact(error) else f"**wrong by {percent:g}%**"
