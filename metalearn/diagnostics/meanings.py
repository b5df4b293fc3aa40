"""The meaning of each diagnostic, its healthy range, and the remedy outside that range."""

from __future__ import annotations

MEANINGS: dict[str, str] = {
    "order/norm": (
        "length |g| of the exact meta-gradient; steady or falling; where it jumps, clip per task or lower "
        "the inner rate"
    ),
    "order/first_order_norm": (
        "length |f| of its first-order part; of the size of |g|; far above it: second derivatives are "
        "needed, f would overshoot"
    ),
    "order/correction_norm": (
        "length |g - f| of the second-order part; any; far below |g|: first_order is sufficient at lower cost"
    ),
    "order/cosine": (
        "<g, f> / (|g| |f|), 0 if either is zero; any; near 1 first_order has the same direction, below "
        "about 0.5 its direction is wrong"
    ),
    "order/estimator_cosine": (
        "<g, e> / (|g| |e|) with e of the estimator in use; 1 for an exact one; less: the estimator is "
        "biased, or a gradient is stopped"
    ),
    "order/estimator_error": (
        "|g - e| / |g| with e of the estimator in use; rounding for an exact one (about 1e-6 in float32); "
        "more: its bias, length included"
    ),
    "tasks/cosine": (
        "mean cosine of the meta-gradients of two tasks; above 0; near 0 or below they share little: adapt "
        "more parameters, or take more inner steps"
    ),
    "tasks/conflicts": (
        "fraction of pairs of tasks whose cosine is negative; below 1/2, the value of pure noise; more: "
        "tasks conflict, add context to the model or adapt more of it"
    ),
    "tasks/variance": (
        "tr(Sigma), variance of one task's meta-gradient, unbiased; any; its average over iterations "
        "divided by that of tasks/signal is a more precise noise scale"
    ),
    "tasks/signal": (
        "|G|^2 of the meta-gradient of all tasks, unbiased; above 0; at 0 or below noise dominates this "
        "meta-batch: enlarge it"
    ),
    "tasks/signal_to_noise": (
        "|gbar|^2 / (tr(Sigma) / T); well above 1; about 1 is pure noise: enlarge the meta-batch or "
        "lower the outer rate"
    ),
    "tasks/noise_scale": (
        "tr(Sigma) / |G|^2, the meta-batch size beyond which more tasks help little; near the size in "
        "use; far above it take more tasks, far below fewer"
    ),
    "inner/support_loss": "mean inner loss after k steps; falls with k; where it rises, lower the inner rate",
    "inner/query_loss": (
        "mean outer loss after k steps; falls with k; rising while the support loss falls: fewer steps or "
        "more shots"
    ),
    "inner/displacement": (
        "mean |theta_K - theta_0|; steady, above 0; near 0 nothing is adapted: raise the inner rate, or take "
        "more steps"
    ),
    "inner/gradient_cosine": (
        "mean cosine of support and query gradients at theta_0; above 0; near 0 or below an inner step "
        "does not help the query: more shots"
    ),
    "inner/curvature": (
        "largest Hessian eigenvalue of the inner loss at theta_0, mean over tasks; steady; growing: the "
        "inner loop nears instability, see inner/stability"
    ),
    "inner/curvature_maximum": (
        "the same, maximum over tasks; below 2 / inner rate; beyond it, lower the rate"
    ),
    "inner/stability": (
        "largest eigenvalue of R^(1/2) H R^(1/2) over tasks, inner rate times curvature; below 2; beyond, "
        "descent diverges: lower the inner rate, learn it, or clip inner gradients"
    ),
    "inner/unstable": "fraction of tasks whose stability is beyond 2; 0; more: as for inner/stability",
    "update/ratio": (
        "|after - before| / |before| of a variable in an outer update; about 1e-3; above 1e-1 lower the "
        "outer rate, below 1e-5 raise it"
    ),
    "update/rate": (
        "|after - before| / |g| of a variable, the effective outer learning rate; changes smoothly; "
        "jumps: a gradient close to zero was scaled up, raise the optimizer's epsilon or clip"
    ),
    "variance": (
        "cost times tr(Cov) of an estimate; the smaller the better for any budget; large compared with the "
        "squared length of the meta-gradient: more pairs, a larger sigma, or shorter windows"
    ),
    "distance": (
        "|mean estimate - reference|; within its standard error, sqrt(variance / (cost calls)); more: the "
        "estimator is biased"
    ),
    "learned/mean": (
        "mean of a learned hyperparameter in inner step k; changes smoothly; stays at its initial value: "
        "raise the outer rate"
    ),
    "learned/minimum": (
        "its smallest value; above 0 for a rate; below, the inner step increases the loss: learn it with "
        "positive=True"
    ),
    "learned/maximum": (
        "its largest value; such that inner/stability stays below 2; beyond, lower the outer rate or clip "
        "per task"
    ),
}
"""For each name, without step and meta-parameter: ``formula; healthy range; remedy outside of it``."""


def meaning(key: str) -> str:
    """Return the entry of :data:`MEANINGS` for a returned key, which may have a step or a meta-parameter.

    Raises:
        KeyError: if there is none.
    """
    name = key
    while name and name not in MEANINGS:
        name = name.rpartition("/")[0]
    if not name:
        raise KeyError(key)
    return MEANINGS[name]
