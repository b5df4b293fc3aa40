"""TensorFlow as all commands have it: without the notices of its libraries, on one thread, with a cache."""

from __future__ import annotations

import os
import sys
import tempfile

from . import compile_cache

VARIABLES = {"TF_NUM_INTRAOP_THREADS": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
"""Of a process, unless the environment says otherwise.

With more threads, programs of small matrix products lose by handing work over a sixth of their speed;
convolutions gain. Results have the same bits. Jobs of a sweep, and the process that has built them, may share
a GPU: none reserves all of its memory.
"""


def import_tensorflow() -> None:
    """Import TensorFlow, with op determinism on, and show what loading printed only if it fails.

    It reads the number of threads when it is imported: whoever imports it before has others, and no cache
    of compiled programs.
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
            with compile_cache.flagged():
                import tensorflow as tf
        except BaseException:
            captured.seek(0)
            os.write(stderr, captured.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()
