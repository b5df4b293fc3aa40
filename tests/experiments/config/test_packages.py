"""Which definitions of a user's packages may be named, and the messages for others."""

import sys

import pytest

from experiments.harness.config import packages
from experiments.harness.config.targets import find
from experiments.harness.errors import UsageError
from experiments.harness.runs import code

FILES = {
    "aa_lab/__init__.py": (
        "import os\nfrom os import system\nfrom json import dumps\nfrom .parts import Part, made\n"
    ),
    "aa_lab/parts.py": (
        "import functools\nclass Part:\n    pass\ndef made():\n    return Part()\ndef _hidden():\n    pass\n"
        "value = 3\npartial = functools.partial(made)\ncached = functools.lru_cache(made)\n"
    ),
    "aa_lab/_private.py": "def made():\n    pass\n",
    "aa_lab/broken.py": "import json\n1 / 0\n",
    "aa_lab/leaving.py": "raise SystemExit(3)\n",
    "aa_lab/wrong.py": "def f(:\n",
    "aa_lab/needing.py": "import aa_missing_library\n",
    "aa_space/inner/parts.py": "def made():\n    pass\n",
    "aa_module.py": "def made():\n    pass\n",
}


@pytest.fixture(autouse=True)
def lab(tmp_path, monkeypatch):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("aa_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "trusted"),
    [
        ("aa_lab.parts.Part", ["aa_lab"]),
        ("aa_lab.parts.made", ["aa_lab"]),
        ("aa_lab.Part", ["aa_lab"]),
        ("aa_lab.parts.cached", ["aa_lab"]),
        ("aa_lab.parts.made", ["other", "aa_lab.parts"]),
        ("aa_lab.made", ["aa_lab"]),
        ("aa_space.inner.parts.made", ["aa_space"]),
        ("aa_space.inner.parts.made", ["aa_space.inner"]),
        ("aa_module.made", ["aa_module"]),
    ],
)
def test_what_a_trusted_package_defines_may_be_named(target, trusted):
    assert callable(find(target, "task._target_", trusted))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("aa_lab.parts._hidden", "is private"),
        ("aa_lab._private.made", "is private"),
        ("aa_lab.__builtins__.eval", "is private"),
        ("aa_lab.parts.value", "not a function or class, but a int"),
        ("aa_lab.parts.partial", "not a function or class, but a partial"),
        ("aa_lab.parts", "not a function or class, but a module"),
        ("aa_lab.system", "not a function or class"),
        ("aa_lab.dumps", "it is defined in json"),
        ("aa_lab.os.system", "there is no module aa_lab.os"),
        ("aa_lab.parts.mode", "there is no mode in .*parts.py.*did you mean made"),
        ("aa_lab.broken.f", r"aa_lab.broken cannot be imported: ZeroDivisionError: .*broken.py, line 2\)"),
        ("aa_lab.leaving.f", "aa_lab.leaving cannot be imported: SystemExit: 3"),
        ("aa_lab.wrong.f", "aa_lab.wrong cannot be imported: SyntaxError: .*wrong.py, line 1"),
        ("aa_lab.needing.f", "ModuleNotFoundError: No module named 'aa_missing_library'"),
        ("aa_lab", "not allowed"),
        ("aa_labour.f", "not allowed"),
        ("aa_nowhere.f", "there is no module aa_nowhere, neither in"),
        ("os.system", "not allowed"),
    ],
)
def test_nothing_else_may_be(target, expected):
    with pytest.raises(UsageError, match=expected) as raised:
        find(target, "task._target_", ["aa_lab", "aa_nowhere"])
    assert f"task._target_={target}" in str(raised.value)


def test_what_is_private_or_not_trusted_is_not_imported():
    for target in ("aa_lab._private.made", "aa_module.made"):
        with pytest.raises(UsageError):
            find(target, "task._target_", ["aa_lab"])
    assert not any(name.startswith("aa_") for name in sys.modules)


@pytest.mark.parametrize(
    "value", ["os", ["mine", "os.path"], "metalearn", "experiments", "hydra_plugins", "builtins"]
)
def test_python_s_own_packages_and_ours_cannot_be_trusted(value):
    with pytest.raises(UsageError, match=r"packages=.* cannot be trusted"):
        packages.trusted(value)


@pytest.mark.parametrize("value", [None, 3, "a b", "a/b", [["a"]], {"a": 1}, "", "..", ["a", ""]])
def test_other_values_are_no_packages(value):
    with pytest.raises(UsageError, match=r"packages=.* must be a name of a package, or a list"):
        packages.trusted(value)


def test_the_setting_and_the_environment_add_up(monkeypatch):
    monkeypatch.setenv("METALEARN_PACKAGES", "b, c.d")
    assert packages.trusted("a") == ["a", "b", "c.d"]
    assert packages.trusted(["b", "e"]) == ["b", "e", "c.d"]
    monkeypatch.setenv("METALEARN_PACKAGES", "os")
    with pytest.raises(UsageError, match="METALEARN_PACKAGES=os cannot be trusted"):
        packages.trusted([])


def test_all_missing_packages_are_named_at_once():
    config = {
        "task": {"_target_": "lab.tasks.T"},
        "rule": {"_target_": "metalearn.rules.sgd", "learning_rate": {"_target_": "other.rate"}},
        "learner": {"loss": "third.loss", "metrics": ["accuracy", "lab.bias", "known.bias"]},
        "optimizer": {"_target_": "os.system"},
    }
    with pytest.raises(
        UsageError, match=r"of the packages lab, other, third, .*packages=\[known,lab,other,third\]"
    ):
        packages.require(config, ["known"])
    packages.require(config, ["known", "lab", "other", "third"])


def test_files_of_a_module_and_of_a_namespace_are_code(tmp_path):
    def files(target, *trusted):
        found = code.sources({"task": {"_target_": target}, "packages": trusted})["files"]
        return {name for name in found if name.startswith("aa_")}

    assert files("aa_module.made", "aa_module") == {"aa_module.py"}
    assert files("aa_space.inner.parts.made", "aa_space.inner") == {"aa_space/inner/parts.py"}
    assert files("aa_space.inner.parts.made") == {"aa_space/inner/parts.py"}
    assert {"aa_module.py", "aa_lab/parts.py"} <= files("aa_module.made", "aa_module", "aa_lab")
    assert files("metalearn.tasks.Sinusoid", "aa_lab") == set()
    assert not any(name.startswith("aa_") for name in sys.modules)
