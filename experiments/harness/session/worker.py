"""A worker started by :func:`.workers.start`, which executes one line of its standard input.

The line is a configuration to train, or a run to train again and compare. The worker ends together with the
command that has started it, because its input then ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from .. import console
from ..app.quiet import import_tensorflow
from ..errors import BAD_INPUT, UsageError


def main() -> int:
    """Return the exit code."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    console.accept_any_text()
    console.console.quiet = order["quiet"]
    if order["cores"]:
        os.sched_setaffinity(0, order["cores"])  # before TensorFlow makes as many threads
    import_tensorflow()
    from .reproduction import reproduce
    from .training import train

    try:
        if "config" in order:
            return train(order["config"])
        return reproduce(Path(order["run"]), order["until"], order["packages"])
    except UsageError as error:
        if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 0:  # the others say the same
            console.say_error(str(error), "error:")
        return BAD_INPUT


def _end_with_the_command() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
