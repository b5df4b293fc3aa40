"""Agreement of the tasks of a meta-batch, and the number of tasks that an update needs."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from metalearn.diagnostics.angles import Metrics, flat, share, unit
from metalearn.types import Meta


def conflicts(per_task: Meta) -> Metrics:
    """Compare the meta-gradients g_1, ..., g_T of the tasks of one meta-batch; gbar is their mean.

    ::

        tasks/cosine             mean over pairs s < t of <g_s, g_t> / (|g_s| |g_t|)
        tasks/conflicts          fraction of pairs whose cosine is below 0
        tasks/variance           tr(Sigma) = 1/(T-1) sum_t |g_t - gbar|^2
        tasks/signal             |G|^2     = |gbar|^2 - tr(Sigma)/T
        tasks/signal_to_noise    |gbar|^2 / (tr(Sigma)/T)
        tasks/noise_scale        tr(Sigma) / |G|^2, in tasks

    ``variance`` and ``signal`` are unbiased estimates; to estimate the noise scale from several meta-batches,
    average each of them and then divide, as in the paper. The signal-to-noise ratio is biased: it is about 1
    if there is no signal.

    A zero gradient has the cosine 0 with every other. The estimated signal may be 0 or negative: the noise
    scale is then infinite. For equal gradients the signal-to-noise ratio is infinite; if all gradients are
    zero, it is 0. If a gradient is not finite, all results are NaN.

    Args:
        per_task: each leaf ``[T, ...]``, T known.

    Returns:
        Scalars; an empty dict for T = 1, which has no pairs and no variance.

    Raises:
        ValueError: if T is not known.

    Reference: McCandlish et al. (2018), "An Empirical Model of Large-Batch Training", equation 2.9 and,
    for the unbiased estimates (batches of 1 and of T), appendix A.1; Yu et al. (2020), "Gradient Surgery
    for Multi-Task Learning", definition 1 (conflicting gradients).
    """
    tasks = tf.nest.flatten(per_task)[0].shape[0]
    if tasks is None:
        raise ValueError("the number of tasks is unknown: give tensors of the shape [T, ...] with a fixed T")
    if tasks == 1:
        return {}
    vectors = flat(per_task, axes=1)
    directions = unit(vectors)
    cosines = tf.linalg.matmul(directions, directions, transpose_b=True)
    left, right = np.triu_indices(tasks, 1)
    pairs = tf.gather(tf.reshape(cosines, [-1]), left * tasks + right)
    mean = tf.reduce_mean(vectors, 0)
    power = tf.reduce_sum(tf.square(mean))
    variance = tf.reduce_sum(tf.square(vectors - mean)) / (tasks - 1)
    signal = power - variance / tasks
    return {
        "tasks/cosine": tf.reduce_mean(pairs),
        "tasks/conflicts": share(pairs < 0, of=pairs),
        "tasks/variance": variance,
        "tasks/signal": signal,
        "tasks/signal_to_noise": tf.where(tf.equal(power, 0), power, power / (variance / tasks)),
        "tasks/noise_scale": tf.where(signal <= 0, tf.constant(np.inf, signal.dtype), variance / signal),
    }
