"""TensorFlow as all commands use it: without notices of its libraries, on one thread, with a cache."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
import time
from collections.abc import Iterator

from ..cache import compiled

VARIABLES = {"TF_NUM_INTRAOP_THREADS": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
"""Settings of a process, unless its environment has other values.

With more threads, programs of small matrix products are slower by a sixth, and convolutions are faster; the
results have the same bits. Jobs of a sweep, and the process that has built them, may share a GPU, so none
reserves all of its memory.
"""

_imported: list[float] = []
"""The time at which TensorFlow's import ended, until it is asked for."""


def start_seconds(until: float) -> dict[str, float]:
    """Return the seconds from TensorFlow's import to a time as ``start``, for the first job of a process."""
    return {"start": round(until - _imported.pop(), 2)} if _imported else {}


def import_tensorflow() -> None:
    """Import TensorFlow with deterministic operations, and show the output of the import only if it fails.

    TensorFlow reads the number of threads when it is imported: a process that has imported it before has
    another number, and no cache of compiled programs.
    """
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].config.experimental.enable_op_determinism()
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            with compiled.flagged(), _uncollected():
                import tensorflow as tf
        except BaseException:
            captured.seek(0)
            os.write(stderr, captured.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    _imported.append(time.perf_counter())
    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep what is made within the context for ever, without looking for garbage in it again and again.

    TensorFlow's import makes half a million objects. Looking for garbage takes a quarter of its time, and
    would take as long again later.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
