"""The grid that the configurations of a table make, where two settings vary."""

from __future__ import annotations

import dataclasses

from .table import Row, Table

FILLED = 0.5
"""Of the cells of a grid that must have runs: few points in a plane are not a grid."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """Rows of a table by the values of two settings.

    Attributes:
        across: values of the setting that has more of them, in their order.
        down: values of the other.
        names: of the two settings, in this order.
        cells: by the values of both, in this order.
        paths: of the two settings, in this order.
    """

    across: list[str]
    down: list[str]
    names: tuple[str, str]
    paths: tuple[str, str]
    cells: dict[tuple[str, str], Row]

    @property
    def empty(self) -> list[tuple[str, str]]:
        """Values of both that no finished run has."""
        every = [(first, second) for second in self.down for first in self.across]
        return [pair for pair in every if pair not in self.cells]


def grid(table: Table) -> Grid | None:
    """Return the grid of a table, or None where not two settings vary, or they fill less than half of it."""
    if len(table.paths) != 2:
        return None
    values = [_ordered({row.cells[place] for row in table.rows}) for place in (0, 1)]
    first, second = (0, 1) if len(values[0]) >= len(values[1]) else (1, 0)
    cells = {(row.cells[first], row.cells[second]): row for row in table.rows}
    whole = len(values[0]) * len(values[1])
    if min(map(len, values)) < 2 or len(cells) < len(table.rows) or len(cells) < FILLED * whole:
        return None
    if len(cells) <= len(values[first]):  # a row or a diagonal
        return None
    names, paths = table.names, table.paths
    return Grid(
        values[first], values[second], (names[first], names[second]), (paths[first], paths[second]), cells
    )


def _ordered(values: set[str]) -> list[str]:
    def order(value: str) -> tuple[bool, float, str]:
        try:
            return False, float(value), value
        except ValueError:
            return True, 0.0, value

    return sorted(values, key=order)
