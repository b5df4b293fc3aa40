"""The page is self-contained, and no text of a configuration is interpreted as HTML."""

import base64
from html.parser import HTMLParser

import pandas as pd

from experiments.harness.report.page import Picture, Section, bold, page

NASTY = '<script>alert(1)</script>" onload="x'


class Elements(HTMLParser):
    """A parser that collects elements with their attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_needs_no_other_file_and_escapes_what_it_shows():
    table = pd.DataFrame({NASTY: [NASTY], "n": [bold("1 < 2")]})
    section = Section(NASTY, table, 1, NASTY, [NASTY], [Picture(b"<svg/>", NASTY)])
    elements = Elements(page(NASTY, [section, section], [NASTY], {NASTY: NASTY}))
    assert not elements.open
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in elements.found}
    assert not [attributes for _, attributes in elements.found if {"href", "onload"} & {*attributes}]
    sources = [attributes["src"] for _, attributes in elements.found if "src" in attributes]
    assert sources == ["data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode()] * 2
    assert [tag for tag, _ in elements.found].count("table") == 2
    assert elements.texts.count(NASTY) == 2 + 2 * 6 + 1
    assert [tag for tag, _ in elements.found].count("b") == elements.texts.count("1 < 2") == 2
    assert f"{NASTY}: {NASTY}" in elements.texts


def test_what_is_not_there_has_no_heading():
    text = page("title", [Section("title", pd.DataFrame(), 0, "caption", [], [])], [], {})
    assert "<ul>" not in text.partition("<footer>")[0]
    assert "belong to no table" not in text
