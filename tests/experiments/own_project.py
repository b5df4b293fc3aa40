"""The example project of the guide, written to a folder, and commands that run in it."""

import re
import shlex
import sys

import pytest

from experiments import __main__ as console
from experiments.harness.figures import drawing
from experiments.harness.report import write
from experiments.harness.session import results
from tests.documents import GUIDE
from tests.experiments.small_runs import quick_programs

PAGE = (GUIDE / "own_project.md").read_text()

FILE = re.compile(r"```(?:python|yaml)\n# (mylab/\S+)\n(.*?)```", re.DOTALL)

COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^metalearn .*", PAGE, re.MULTILINE)]
"""The example's: train, sweep, report, evaluate, reproduce."""

SMALL = ["training.iterations=12", "training.meta_batch_size=2", "evaluation.tasks=4", "evaluation.steps=2"]
SMALL += ["model.width=4", "training.jit_compile=false", "run.checkpoint_seconds=0.001"]
SMALL += ["tracking=none", "diagnostics.interval=null", "run.check_derivatives=false"]


def make(folder):
    """Write the files of the example; return their names."""
    files = dict(FILE.findall(PAGE))
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(files)


def forget():
    """Remove the project's modules from memory, because another test has a project of the same name."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        del sys.modules[name]


def on(command, path):
    """Return a command of the example on a run or a sweep."""
    return [re.sub(r"runs/.*<id>", str(path), word) for word in command]


def call(folder, *arguments):
    """Call ``metalearn ...`` in a folder, in this process, without figures; return its exit code."""
    with quick_programs(), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setattr(sys, "argv", ["metalearn", *arguments])
        monkeypatch.setattr(results, "draw", lambda *_: {})
        monkeypatch.setattr(write, "_draw", lambda *_: [])
        monkeypatch.setattr(drawing, "save", lambda *_: None)
        with pytest.raises(SystemExit) as stopped:
            console.main()
    return stopped.value.code
