"""Examples in docstrings give the values that they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import metalearn

FOLDER = Path(metalearn.__file__).parent

WITH_EXAMPLES = [
    ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(FOLDER.rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name):
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0
    assert results.attempted >= (25 if name == "metalearn.examples" else 1)
