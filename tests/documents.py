"""The documents whose commands and snippets are run, and the commands in their text and tables."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

README = ROOT / "README.md"

GUIDE, RESULTS = ROOT / "experiments" / "guide", ROOT / "experiments" / "results"

DOCUMENTS = (README, *sorted(GUIDE.glob("*.md")), *sorted(RESULTS.glob("*.md")))

TEXT = "\n".join(path.read_text() for path in DOCUMENTS)

EXPERIMENTS = ROOT / "conf" / "experiment"

BEYOND_TEXT = re.compile(r"```.*?```|<!-- (\w+):begin -->.*?<!-- \1:end -->", re.DOTALL)
"""Blocks of code, which have tests of their own, and tables that commands make."""

PASSAGE = re.compile(r"\n(?=\||- |\s*\n)")
"""Between paragraphs, items of a list and rows of a table."""

OVERRIDE = re.compile(r"[a-z_]+(?:/[a-z_]+)?(?:\.\w+)*=[^=|*]+")
"""A setting as it is typed, without a choice (``a|b``), a wildcard or Python's spaces."""


def passages(document):
    """Yield the paragraphs, list items and table rows of a document, without blocks of code."""
    return PASSAGE.split(BEYOND_TEXT.sub("", document.read_text()))


def spans(passage):
    """Return the texts between backticks in a passage, with line breaks as spaces."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", passage)]


def typed(words):
    """Return overrides with one value for a placeholder (``<id>``, ``S``) or the values of a sweep."""
    filled = [re.sub(r"<\w+>", "maml", re.sub(r"=[A-Z]$", "=2", word)) for word in words]
    return [re.sub(r"(=[^,\[{]+),.*", r"\1", word) for word in filled]


def settings_in(document, sections):
    """Yield ``(span, command, overrides)`` for every command and every list of settings in a document's text.

    Settings without an experiment belong to the experiment that was named before them in the passage, if any.

    Args:
        document: a page.
        sections: the possible first words of settings; other assignments are Python code.
    """
    for passage in passages(document):
        context = []
        for span in spans(passage):
            if "..." in span or not span.isascii():
                continue
            found = re.fullmatch(r"python -m experiments\.(\w+)(.*)", span)
            command, words = (found[1], shlex.split(found[2])) if found else ("train", span.split())
            words = [word for word in words if word != "-m"]
            if len(words) == 1 and (EXPERIMENTS / words[0]).with_suffix(".yaml").is_file():
                words = [f"experiment={words[0]}"]
            overrides = all(OVERRIDE.fullmatch(word) for word in words)
            own = words and re.split(r"[./=]", words[0])[0] in {*sections, "seed"}
            if not overrides or not (found or own):
                continue
            if command == "train" and any(word.startswith("experiment=") for word in words):
                context = [word for word in words if word.startswith("experiment=")]
            elif command == "train" and not found:
                words = [*context, *words]
            yield span, command, typed(words)


def files_of_tests(document):
    """Return the paths of the test files that a document names."""
    return re.findall(r"tests/[\w/]+\.py", document.read_text())
