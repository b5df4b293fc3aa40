"""The packages of ``experiments`` import downwards only, and their modules are small."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1] / "experiments"

ORDER = (
    "harness.errors",
    "harness.console",
    "harness.invocation",
    "harness.runs",
    "harness.cache",
    "data",
    "harness.tracking",
    "harness.config",
    "harness.figures",
    "harness.app",
    "harness.session",
    "harness.sweeps",
    "harness.report",
)
"""Each imports itself and those before it. Commands, plugins and tools import what they need of them."""

LONGEST_MODULE, LONGEST_FUNCTION = 300, 60


def modules():
    return {
        path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(ROOT.rglob("*.py"))
    }


def package(parts):
    return ".".join(parts[:2]) if parts[0] == "harness" else parts[0]


def targets(path, tree):
    """Yield the modules of ``experiments`` that a module imports, as parts of their names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*path.parts[: -node.level], *filter(None, (node.module or "").split("."))]
            yield from ([*base, alias.name] for alias in node.names)


def test_imports_are_relative():
    """Modules import each other relatively, because the installed package has another name."""
    wrong = []
    for path, tree in modules().items():
        names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names += [each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names]
        if path.parts[0] != "plugins":
            wrong += [f"{path}: {name}" for name in names if name.split(".")[0] == "experiments"]
    assert not wrong


def test_every_package_has_a_place():
    found = {
        package(path.with_suffix("").parts) for path in modules() if path.parts[0] in ("harness", "data")
    }
    assert found - {"harness.__init__"} == set(ORDER)


def test_imports_point_down():
    """No package of the harness imports a later one, a command or a tool."""
    wrong = []
    for path, tree in modules().items():
        own = package(path.with_suffix("").parts)
        if own not in ORDER:
            continue
        allowed = ORDER[: ORDER.index(own) + 1]
        wrong += [
            f"{path}: {'.'.join(target)}" for target in targets(path, tree) if package(target) not in allowed
        ]
    assert not wrong


def test_tools_are_imported_by_commands_alone():
    wrong = [
        f"{path}: {'.'.join(target)}"
        for path, tree in modules().items()
        for target in targets(path, tree)
        if target[0] == "tools" and len(path.parts) > 1 and path.parts[0] != "tools"
    ]
    assert not wrong


def test_sizes():
    long = []
    for path, tree in modules().items():
        lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
        if lines >= LONGEST_MODULE:
            long.append(f"{path} has {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines >= LONGEST_FUNCTION:
                    long.append(f"{path}: {node.name} has {lines} lines")
    assert not long
