"""The dependencies between the parts of the package, the sizes of its modules, and its exports."""

import ast
import graphlib
import importlib.metadata
import sys
from pathlib import Path

import pytest

import metalearn

PACKAGE = Path(__file__).resolve().parents[1] / "metalearn"

ORDER = (
    "types",
    "checks",
    "nest",
    "elementary",
    "random",
    "execution",
    "autodiff",
    "inner_loop",
    "nn",
    "losses",
    "metrics",
    "sources",
    "rules",
    "estimators",
    "problems",
    "attacks",
    "compression",
    "saving",
    "training",
    "evaluation",
    "callbacks",
    "diagnostics",
    "testing",
    "examples",
)
"""The parts of the package: each imports itself and those before it, and nothing else of the package."""

LIBRARIES = {"tensorflow", "keras", "numpy"}

LONGEST_MODULE, LONGEST_FUNCTION = 300, 60

LAYER_BASES = {"Normalization", "_Resampling"}
"""Keras layers are classes; what some of them share is a layer, too, that is never used by itself."""


def modules():
    """Return the parsed modules by their paths within the package."""
    return {
        path.relative_to(PACKAGE): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imported(tree):
    """Yield the full name of everything that a module imports, wherever in it, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"relative import in line {node.lineno}: name the module in full"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def part_of(path):
    """Return which part of the package a module belongs to."""
    return path.parts[0].removesuffix(".py")


def test_every_part_has_a_place():
    parts = {part_of(path) for path in modules()} - {"__init__"}
    assert parts == set(ORDER)


def test_imports_point_down():
    """No part imports a later one; only the package itself imports all."""
    wrong = []
    for path, tree in modules().items():
        for name, line in imported(tree):
            root, _, rest = name.partition(".")
            part = part_of(path)
            if root != "metalearn" or part == "__init__":
                continue
            target = rest.partition(".")[0]
            if target not in ORDER[: ORDER.index(part) + 1]:
                wrong.append(f"{path}:{line} imports {name}")
    assert not wrong


def test_modules_import_one_another_without_cycles():
    """Modules have no cyclic imports, also within a part."""
    trees = modules()
    dotted = {
        ".".join(("metalearn", *path.with_suffix("").parts)).removesuffix(".__init__"): path for path in trees
    }
    graph = {}
    for name, path in dotted.items():
        if path.name == "__init__.py":
            continue
        targets = [target for target, _ in imported(trees[path])]
        found = {target if target in dotted else target.rpartition(".")[0] for target in targets}
        graph[name] = found & set(dotted)
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_libraries():
    allowed = LIBRARIES | set(sys.stdlib_module_names) | {"metalearn"}
    wrong = [
        f"{path}:{line} imports {name}"
        for path, tree in modules().items()
        for name, line in imported(tree)
        if name.partition(".")[0] not in allowed
    ]
    assert not wrong


def test_sizes():
    long = []
    for path, tree in modules().items():
        lines = len((PACKAGE / path).read_text(encoding="utf-8").splitlines())
        if lines >= LONGEST_MODULE:
            long.append(f"{path} has {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines >= LONGEST_FUNCTION:
                    long.append(f"{path}: {node.name} has {lines} lines")
    assert not long


def is_abstract(definition):
    """Return whether a class is a protocol, an exception to be caught, or has a method without a body."""
    bases = {ast.unparse(base) for base in definition.bases}
    return bool(bases & {"Protocol", "abc.ABC"}) or any(
        ast.unparse(decorator) == "abc.abstractmethod"
        for method in definition.body
        if isinstance(method, ast.FunctionDef)
        for decorator in method.decorator_list
    )


def is_mixin(definition):
    """Return whether a class has only special methods, so that it cannot be used alone."""
    methods = [node.name for node in definition.body if isinstance(node, ast.FunctionDef)]
    assigned = any(isinstance(node, ast.Assign | ast.AnnAssign) for node in definition.body)
    dunder = all(name.startswith("__") and name != "__init__" for name in methods)
    return not definition.bases and not assigned and bool(methods) and dunder


def test_no_class_has_a_concrete_base():
    """Bases of classes within the package are protocols, abstract classes or mixins."""
    classes = {
        node.name: node
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    wrong = [
        f"{name}({base})"
        for name, definition in classes.items()
        for base in (ast.unparse(each).rpartition(".")[2] for each in definition.bases)
        if base in classes and base not in LAYER_BASES
        if not is_abstract(classes[base]) and not is_mixin(classes[base])
    ]
    assert not wrong


def test_layer_bases_are_bases():
    """Bases of layers that are exempt from the rule are exactly those in use."""
    bases = {
        ast.unparse(base)
        for path, tree in modules().items()
        if path.parts[:2] == ("nn", "layers")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    }
    assert bases - {"keras.layers.Layer", "NamedTuple", "Protocol"} == LAYER_BASES


def test_public_names():
    assert dir(metalearn) == sorted(metalearn.__all__)
    assert len(set(metalearn.__all__)) == len(metalearn.__all__)


@pytest.mark.parametrize("name", metalearn.__all__)
def test_public_names_resolve(name):
    assert getattr(metalearn, name) is not None


def test_version_is_that_of_the_distribution():
    assert metalearn.__version__ == importlib.metadata.version("metalearn-tf")


def test_types_are_published():
    assert (PACKAGE / "py.typed").is_file()
