"""The device of PyTorch's programs."""

from __future__ import annotations

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
"""The GPU that the benchmark has left visible, if it has; see :mod:`.devices`."""
