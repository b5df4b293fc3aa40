"""Every command sets threads and determinism before it imports TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.harness.app import quiet

ROOT = Path(quiet.__file__).resolve().parents[3]

WATCHED = """
import importlib, os, sys, traceback

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow":
            asking = [frame.f_code.co_name for frame, _ in traceback.walk_stack(None)]
            print("import_tensorflow" in asking, os.environ.get("TF_NUM_INTRAOP_THREADS"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Watch())
name = sys.argv[1]
module = importlib.import_module(f"experiments.{name}")
from experiments.harness.app.application import run_application
sys.argv = [name, *sys.argv[2:]]
run_application(module.main, name)
"""
"""Says who imports TensorFlow first, and with how many threads; ends the process then."""

WHOLE = """
from experiments.harness.app.quiet import import_tensorflow, start_seconds
import_tensorflow()
import gc, os, time
import tensorflow
from tensorflow.python.framework import config
print(config.is_op_determinism_enabled(), os.environ["TF_NUM_INTRAOP_THREADS"])
print(gc.isenabled(), gc.get_freeze_count() > 100_000)
now = time.perf_counter()
print(0.1 <= start_seconds(now + 0.1)["start"] < 5, start_seconds(now))
"""


def printed(program, *arguments):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_NUM")}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["train", "-m", "seed=0,1"],
        ["train"],
        ["evaluate", "run={run}"],
        ["reproduce", "run={run}"],
        ["report", "runs={run}"],
        ["check_gradients"],
        ["audit_keras"],
        ["benchmark"],
    ],
    ids=" ".join,
)
def test_nothing_imports_tensorflow_before_it_is_set_up(short, tmp_path, command):
    arguments = [word.format(run=short[0].path) for word in command]
    assert printed(WATCHED, *arguments) == "True 1\n"


def test_operations_are_deterministic_and_on_one_thread():
    """The import is not searched for garbage, later objects are; the first job knows how long it took."""
    assert printed(WHOLE) == "True 1\nTrue True\nTrue {}\n"
