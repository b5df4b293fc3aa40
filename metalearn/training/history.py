"""The history of a training: the metrics of its iterations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

History = dict[str, np.ndarray]
"""For each metric an array with one row for each iteration:

- ``outer/loss``: the meta-loss, mean over the tasks.
- ``inner/loss``, ``outer/loss_before`` and ``inner/loss_before``: support loss after adaptation, query and
  support loss before it, in one row of ``loss_interval``, NaN in others.
- ``meta_gradient/norm``: in total and for each variable.
- ``learning_rate``: of the optimizer, or ``learning_rate/<part>``.
- ``outer/<metric>``: metrics of the outer loss.
- ``residual/<name>``: residuals of the estimator.
"""


def concatenated(parts: Sequence[History]) -> History:
    """Return the history of consecutive parts of a training."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
