"""Only one process can use a run's folder, tested with real processes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.harness.errors import UsageError
from experiments.harness.runs import lock

HOLDER = """
import sys
from pathlib import Path
from experiments.harness.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_is_refused_and_a_killed_owner_leaves_nothing_behind(tmp_path):
    root = str(Path(lock.__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=re.escape(f"process {process.pid} on ")), lock.locked(tmp_path):
            pass
        process.kill()
        process.wait()
        for _ in range(2):
            with lock.locked(tmp_path):
                pass
