"""All of a report on one page of HTML, which needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..console import clean

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #ffffff; --faint: #66666e; --line: #d6d6dc; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ea; --paper: #17171a; --faint: #a0a0a8; --line: #3a3a42; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.2rem; margin: 3rem 0 0.5rem; }
p, li, figcaption { max-width: 50rem; }
.wide { overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
th, td { padding: 0.25rem 0.6rem; text-align: right; border-bottom: 1px solid var(--line); }
th { border-bottom: 2px solid var(--faint); max-width: 9rem; vertical-align: bottom; white-space: normal; }
.setting { text-align: left; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; background: #ffffff; border-radius: 6px; padding: 6px; }
figcaption, footer { color: var(--faint); font-size: 0.9rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); }
"""


class Picture(NamedTuple):
    """A figure of a section: where its PNG is, and what it shows."""

    path: Path
    caption: str


class Section(NamedTuple):
    """What the page shows of configurations that were evaluated on the same tasks.

    Attributes:
        title: what the table is of.
        table: in HTML.
        caption: how to read it.
        absent: runs that it has no numbers of, a line each.
        pictures: below it.
    """

    title: str
    table: str
    caption: str
    absent: Sequence[str]
    pictures: Sequence[Picture]


def page(title: str, sections: Sequence[Section], elsewhere: Sequence[str], made: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        title: of the page.
        sections: in their order.
        elsewhere: runs that belong to none of them, a line each.
        made: how, by name.
    """
    parts = [f"<h1>{escape(title)}</h1>", *map(_section, sections)]
    if elsewhere:
        parts.append(f"<h2>Runs that belong to no table</h2>\n{_list(elsewhere)}")
    lines = [f"<li>{escape(name)}: {escape(text)}</li>" for name, text in made.items()]
    parts.append(f"<footer>\n<ul>\n{_joined(lines)}\n</ul>\n</footer>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{_joined(parts)}\n"
        "</body>\n</html>\n"
    )


def escape(text: str) -> str:
    """Return text that HTML shows as it is."""
    return html.escape(clean(text))


def _section(section: Section) -> str:
    parts = [
        f"<h2>{escape(section.title)}</h2>",
        f'<div class="wide">\n{section.table}\n</div>',
        f"<p>{escape(section.caption)}</p>",
    ]
    if section.absent:
        parts.append(f"<p>Not in these numbers:</p>\n{_list(section.absent)}")
    return _joined([*parts, *map(_figure, section.pictures)])


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode()
    caption = escape(picture.caption)
    image = f'<img src="data:image/png;base64,{data}" alt="{caption}">'
    return f"<figure>\n{image}\n<figcaption>{caption}</figcaption>\n</figure>"


def _list(lines: Sequence[str]) -> str:
    return f"<ul>\n{_joined([f'<li>{escape(line)}</li>' for line in lines])}\n</ul>"


def _joined(parts: Sequence[str]) -> str:
    return "\n".join(parts)
