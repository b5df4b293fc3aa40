"""The error of each estimator relative to the gradient at the solution, and its cost."""

import time

import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

RATE, TIMED = 0.1, 30

ESTIMATORS = {
    "checkpointed": lambda steps: ml.estimators.checkpointed(),
    "unrolled": lambda steps: ml.estimators.unrolled(),
    "forward mode": lambda steps: ml.estimators.forward_mode(),
    "truncated, K / 2": lambda steps: ml.estimators.truncated(steps // 2),
    "truncated, 1": lambda steps: ml.estimators.truncated(1),
    "implicit, 5 of conjugate gradients": lambda steps: ml.estimators.implicit(iterations=5),
    "implicit, 20 of conjugate gradients": lambda steps: ml.estimators.implicit(iterations=20),
    "implicit, K terms of Neumann": lambda steps: ml.estimators.implicit("neumann", steps, scale=RATE),
}
"""First order has no gradient: it takes for constants the inner gradients, where the penalties are."""


EXACT_IN_THE_LIMIT = [
    "checkpointed",
    "forward mode",
    "truncated, K / 2",
    "implicit, 20 of conjugate gradients",
    "implicit, K terms of Neumann",
]


def ridge_data():
    """Return examples, penalties and the closed form of their gradient, as in ``experiment=hpo/ridge``."""
    (x, y), (held_x, held_y), log_l2 = drawn(np.random.default_rng(0), [100, 200], 50, 5, 1.0, -2.0)
    hessian = x.T @ x / len(x) + np.diag(np.exp(log_l2))
    w = np.linalg.solve(hessian, x.T @ y / len(x))
    asked = held_x.T @ (held_x @ w - held_y) / len(held_x)
    return (x, y), (held_x, held_y), log_l2, -np.exp(log_l2) * w * np.linalg.solve(hessian, asked)


def logistic_data():
    """Likewise of ``experiment=hpo/logistic``, the solution by Newton's method."""
    (x, y), (held_x, held_y), log_l2 = drawn(np.random.default_rng(0), [500, 500], 20, 20, 0.1, 0.0)
    y, held_y, penalty = (y > 0).astype(np.int32), (held_y > 0).astype(np.int32), np.exp(log_l2)
    w = np.zeros(20)
    for _ in range(20):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = x.T @ (x * (p * (1 - p))[:, None]) / len(x) + np.diag(penalty)
        w = w - np.linalg.solve(hessian, x.T @ (p - y) / len(x) + penalty * w)
    asked = held_x.T @ (1 / (1 + np.exp(-held_x @ w)) - held_y) / len(held_x)
    return (x, y), (held_x, held_y), log_l2, -penalty * w * np.linalg.solve(hessian, asked)


def drawn(random, sizes, features, relevant, noise, log_l2):
    """Return inner and outer examples of a linear model, and equal penalties."""
    x, weights = random.normal(size=(sum(sizes), features)), random.normal(size=features)
    weights[relevant:] = 0
    y = x @ weights + noise * random.normal(size=sum(sizes))
    return (x[: sizes[0]], y[: sizes[0]]), (x[sizes[0] :], y[sizes[0] :]), np.full(features, log_l2)


def measured(learner, phi, tasks):
    """Return the compiled meta-gradient, and the smallest of several CPU times in milliseconds."""
    gradient = tf.function(
        lambda phi, tasks: learner.meta_gradient(phi, tasks).gradient["log_l2"],
        jit_compile=True,
        autograph=False,
    )
    found, taken = gradient(phi, tasks).numpy(), []
    for _ in range(TIMED):
        start = time.process_time()
        gradient(phi, tasks).numpy()
        taken.append(1e3 * (time.process_time() - start))
    return found, min(taken)


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["ridge", "logistic"])
def test_table(problem):
    """Exact estimators agree, and errors relative to the gradient at the solution fall with K.

    Long windows and converged implicit differentiation reach that gradient, a window of one step does not,
    and first order is rejected. ``-s`` shows errors in float64 and times in float32.
    """
    inner, outer, log_l2, exact = {"ridge": ridge_data, "logistic": logistic_data}[problem]()
    tasks = tf.nest.map_structure(lambda x: tf.constant(x)[None], ml.Task(ml.Batch(*inner), ml.Batch(*outer)))
    single = tf.nest.map_structure(lambda x: tf.cast(x, "float32") if x.dtype.is_floating else x, tasks)
    errors = {}
    for name, estimator in ESTIMATORS.items():
        for steps in (10, 100, 1000):
            if name == "unrolled" and steps == 1000:  # whose graph grows with K
                continue
            build = getattr(ml.problems, problem)
            learner = build(len(log_l2), ml.rules.sgd(RATE), steps, estimator(steps))
            found, _ = measured(learner, {"log_l2": tf.constant(log_l2)}, tasks)
            _, milliseconds = measured(learner, {"log_l2": tf.constant(log_l2, tf.float32)}, single)
            errors[name, steps] = np.linalg.norm(found - exact) / np.linalg.norm(exact)
            print(f"{problem} | {name} | {steps} | {errors[name, steps]:.1e} | {milliseconds:.2f}")  # noqa: T201
    for name in ("unrolled", "forward mode"):
        assert errors[name, 100] == pytest.approx(errors["checkpointed", 100], rel=1e-6)
    for name in EXACT_IN_THE_LIMIT:
        assert errors[name, 1000] < 1e-5, errors
    assert errors["truncated, 1", 1000] > 0.5
    nothing = getattr(ml.problems, problem)(len(log_l2), ml.rules.sgd(RATE), 10, ml.estimators.first_order())
    with pytest.raises(ValueError, match="log_l2"):
        nothing.meta_gradient({"log_l2": tf.constant(log_l2)}, tasks)
