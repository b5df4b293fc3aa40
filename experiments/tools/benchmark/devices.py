"""What programs are measured on: the CPU, or the first GPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ...harness.errors import UsageError

VISIBLE = "CUDA_VISIBLE_DEVICES"

GPUS: dict[str, Callable[[Any], object]] = {
    "tensorflow": lambda tensorflow: tensorflow.config.list_physical_devices("GPU"),
    "jax": lambda jax: [each for each in jax.devices() if each.platform == "gpu"],
    "torch": lambda torch: torch.cuda.is_available(),
}
"""How a library says whether it sees a GPU."""


def require(device: str) -> None:
    """Raise UsageError unless there is such a device, for TensorFlow at least."""
    if device == "cpu":
        return
    from ...harness.app.quiet import import_tensorflow

    import_tensorflow()
    import tensorflow

    if not GPUS["tensorflow"](tensorflow):
        raise UsageError(
            "device=gpu: TensorFlow sees no GPU here: install its package for GPUs, tensorflow[and-cuda], on "
            "a machine with one, or measure with device=cpu"
        )


def environment(device: str) -> dict[str, str]:
    """Return the environment variables of a program that concern devices.

    On a GPU, all programs of a table hold their memory at the same time, so JAX may not reserve most of it.
    """
    if device == "cpu":
        return {VISIBLE: "-1", "JAX_PLATFORMS": "cpu"}
    first = os.environ.get(VISIBLE, "0").split(",")[0]
    return {VISIBLE: first, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def require_in_use(device: str, loaded: dict[str, Any]) -> None:
    """Raise RuntimeError if a program is to run on a GPU, and its library would take the CPU.

    Args:
        device: of the program.
        loaded: modules by name; the library of a program is the first of :data:`GPUS` in them.
    """
    library = next((name for name in GPUS if name in loaded), "none")
    if device == "gpu" and not (library in GPUS and GPUS[library](loaded[library])):
        raise RuntimeError(f"{library} sees no GPU: install its package for GPUs")
