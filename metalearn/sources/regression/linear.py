"""Linear regression in many dimensions, for which meta-losses and meta-gradients have closed forms."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from metalearn.checks import require_count, require_finite, require_positive
from metalearn.random import sample_normal, split_seed
from metalearn.sources.regression.family import assemble, check_settings
from metalearn.types import Seed, Task


@dataclasses.dataclass(frozen=True)
class Linear:
    """Tasks ``y = x . w``, each with its own weights w.

    ``x ~ N(0, I)`` and ``w ~ N(mean 1, scale^2 I)`` in d = ``input_size`` dimensions.

    For the model ``x . v`` and the mean squared error, everything has a closed form. A predictor that does
    not adapt has the error ``|v - mean|^2 + d scale^2``, at best ``d scale^2``: 10 with the defaults. One
    inner step with rate a on N = ``shots`` examples with noise of standard deviation s gives

        v_1 - w = (I - 2 a S)(v - w) + (2 a / N) X' e,    S = X' X / N,    E[S] = I,
        E[S^2] = I (N + d + 1) / N

    so the expected loss after the step, which MAML minimises, is

        L(v) = g (|v - mean|^2 + d scale^2) + 4 a^2 s^2 d / N,    g = 1 - 4 a + 4 a^2 (N + d + 1) / N

    with the meta-gradient ``2 g (v - mean)``; that of first-order MAML is ``2 (1 - 2 a)(v - mean)``, with the
    same optimum, the mean. The best rate without noise is ``a = N / (2 (N + d + 1))``, with
    ``g = (d + 1) / (N + d + 1)``. The optimal predictor is ridge regression towards the mean with the
    strength ``s^2 / scale^2``.

    Attributes:
        shots: the number of support examples of a task.
        queries: the number of query examples of a task.
        input_size: d, the dimension of x.
        mean: the mean of every weight.
        scale: the standard deviation of every weight.
        noise: the standard deviation of Gaussian noise on the targets of the support; the query has none.
        informed: whether w is appended to every input, which becomes ``[T, N, 2 d]``.

    Raises:
        ValueError: if a count or the scale is not positive, the noise negative, or the mean not finite.

    Reference: the moments of S are those of a Wishart matrix; Bernacchia (2021), "Meta-learning with negative
    learning rates", also has the loss of MAML on linear regression for finitely many tasks.
    """

    shots: int = 10
    queries: int = 10
    input_size: int = 10
    mean: float = 0.0
    scale: float = 1.0
    noise: float = 0.0
    informed: bool = False

    def __post_init__(self) -> None:
        check_settings(self)
        require_count("input_size", self.input_size)
        require_finite("mean", self.mean)
        require_positive("scale", self.scale)

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw tasks as a pure function of the seed, eagerly or in a graph.

        Args:
            seed: two integers.
            tasks: T, at least 1.

        Returns:
            A task with inputs ``[T, N, d]``, targets ``[T, N, 1]``, where N is ``shots`` in the support and
            ``queries`` in the query, and parameters w, ``[T, d]``, float32.

        Raises:
            ValueError: if ``tasks`` is not a positive integer.
        """
        require_count("tasks", tasks)
        seeds = split_seed(seed, 4)
        weights = sample_normal([tasks, 1, self.input_size], seeds[0], self.mean, self.scale)
        inputs = (
            sample_normal([tasks, self.shots, self.input_size], seeds[1]),
            sample_normal([tasks, self.queries, self.input_size], seeds[2]),
        )
        return assemble(
            lambda x: tf.reduce_sum(x * weights, -1, keepdims=True),
            [weights],
            inputs,
            noise=self.noise,
            seed=seeds[3],
            informed=self.informed,
        )
