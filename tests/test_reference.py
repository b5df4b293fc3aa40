"""The API reference: every public name has a docstring, and one command makes pages of them all."""

import ast
import inspect
import re
import shlex
import subprocess
import sys
import types

import pytest

import metalearn
from tests.documents import ROOT, TEXT


def public_modules():
    """Return the package and the modules that are public names of one that is public."""
    found = [metalearn]
    for module in found:  # grows
        each = (getattr(module, name) for name in getattr(module, "__all__", ()))
        found += [value for value in each if isinstance(value, types.ModuleType) and value not in found]
    return found


def public_names(module):
    """Return the names of ``__all__``, or those that the module defines, without modules."""
    defined = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    names = getattr(module, "__all__", defined)
    return [name for name in names if not isinstance(getattr(module, name), types.ModuleType)]


def methods(cls):
    """Yield the public methods and properties that a class defines, as functions by name."""
    for name, value in vars(cls).items():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isfunction(function) and function.__module__ != "namedtuple":
            yield name, function


def without_docstring(owner, name, value):
    """Return the names that lack one: of a function, of a class and its methods.

    A method may have that of a base class. What a protocol has may stand in the class's own attributes.
    """
    own = value.__doc__ or ""
    missing = [] if own and not own.startswith(f"{name}(") else [f"{owner}.{name}"]
    if inspect.isclass(value) and value.__module__.startswith("metalearn"):
        for method, function in methods(value):
            inherited = any(
                getattr(getattr(base, method, None), "__doc__", None) for base in value.__mro__[1:]
            )
            if not (function.__doc__ or inherited or f"        {method}: " in own):
                missing.append(f"{owner}.{name}.{method}")
    return missing


def test_every_public_name_has_a_docstring():
    missing = [module.__name__ for module in public_modules() if not module.__doc__]
    for module in public_modules():
        for name in public_names(module):
            value = getattr(module, name)
            if inspect.isroutine(value) or inspect.isclass(value):
                missing += without_docstring(module.__name__, name, value)
    assert not missing


@pytest.mark.slow
def test_the_reference_has_a_page_of_every_public_module(tmp_path):
    """The command of the guide makes a page for every public module, with all of its public names."""
    pytest.importorskip("pdoc")
    (command,) = re.findall(r"^python (-m pdoc .*?)  #", TEXT, re.MULTILINE)
    arguments = [str(tmp_path) if word == "site" else word for word in shlex.split(command)]
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    for module in public_modules():
        page = tmp_path.joinpath(*module.__name__.split(".")).with_suffix(".html").read_text()
        absent = [name for name in public_names(module) if f'id="{name}"' not in page]
        assert not absent, module.__name__
        assert "<p>::" not in page
        assert not re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css)', page)


def test_sections_of_docstrings_begin_where_the_docstring_does():
    """No section of a docstring is indented, because it would belong to the last argument."""
    found = []
    for path in (ROOT / "metalearn").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node) or ""
                indented = re.findall(r"^ +(?:Args|Attributes|Returns|Raises|Reference|Example):", text, re.M)
                found += [f"{path.name}: {getattr(node, 'name', '')}"] * bool(indented)
    assert not found
