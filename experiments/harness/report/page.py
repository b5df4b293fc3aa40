"""The report as one self-contained HTML page: without network, scripts or other files."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import markupsafe
import pandas as pd

from ..console import clean


class Picture(NamedTuple):
    """A figure of a section, as SVG, and its description."""

    svg: bytes
    caption: str


class Section(NamedTuple):
    """A section of the page, for configurations that were evaluated on the same tasks.

    Attributes:
        title: the title of the table.
        table: the texts of its cells; those that are not HTML are escaped.
        settings: the number of columns, the first ones, that are settings.
        caption: the explanation of the columns.
        absent: the runs without numbers in the table, a line each.
        pictures: the figures below the table.
    """

    title: str
    table: pd.DataFrame
    settings: int
    caption: str
    absent: Sequence[str]
    pictures: Sequence[Picture]


def bold(text: str) -> str:
    """Return text in bold, as HTML."""
    return markupsafe.Markup("<b>{}</b>").format(text)


def page(title: str, sections: Sequence[Section], elsewhere: Sequence[str], made: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        title: the title of the page.
        sections: the sections in their order.
        elsewhere: the runs that belong to no section, a line each.
        made: how the page was made, by name.
    """
    environment = jinja2.Environment(autoescape=True, finalize=_shown, undefined=jinja2.StrictUndefined)
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    template = environment.from_string(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    return template.render(title=title, sections=sections, elsewhere=elsewhere, made=made)


def _shown(value: Any) -> Any:
    return value if isinstance(value, markupsafe.Markup) else clean(str(value))
