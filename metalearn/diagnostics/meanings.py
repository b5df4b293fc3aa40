"""What each number means, what is healthy, and what to do when it is not."""

from __future__ import annotations

MEANINGS: dict[str, str] = {
    "order/norm": (
        "length |g| of the exact meta-gradient; steady or falling; where it jumps, clip per task or lower "
        "the inner rate"
    ),
    "order/first_order_norm": (
        "length |f| of its first-order part; of the size of |g|; far above it: second derivatives damp "
        "what f would overshoot, keep them"
    ),
    "order/correction_norm": (
        "length |g - f| of what second derivatives add; any; far below |g| first_order would do at less cost"
    ),
    "order/cosine": (
        "<g, f> / (|g| |f|), 0 where either is zero; any; near 1 first_order points the same way, below "
        "about 0.5 it misleads"
    ),
    "order/estimator_cosine": (
        "<g, e> / (|g| |e|) with e of the estimator in use; 1 for an exact one; less: it is biased by "
        "choice, or a gradient is cut on the way"
    ),
    "order/estimator_error": (
        "|g - e| / |g| with e of the estimator in use; rounding for an exact one (about 1e-6 in float32); "
        "more: its bias, length included"
    ),
    "tasks/cosine": (
        "mean cosine of the meta-gradients of two tasks; above 0; near 0 or below they share little: let "
        "more parameters adapt, or take more inner steps"
    ),
    "tasks/conflicts": (
        "fraction of pairs of tasks whose cosine is negative; below 1/2, which is noise alone; more: "
        "tasks oppose each other, give the model context or adapt more of it"
    ),
    "tasks/variance": (
        "tr(Sigma), variance of one task's meta-gradient, unbiased; any; its average over iterations, "
        "over that of tasks/signal, is a steadier noise scale"
    ),
    "tasks/signal": (
        "|G|^2 of the meta-gradient of all tasks, unbiased; above 0; at 0 or below this meta-batch shows "
        "noise only: enlarge it"
    ),
    "tasks/signal_to_noise": (
        "|gbar|^2 / (tr(Sigma) / T); well above 1; about 1 is noise alone: enlarge the meta-batch or "
        "lower the outer rate"
    ),
    "tasks/noise_scale": (
        "tr(Sigma) / |G|^2, the meta-batch size beyond which more tasks stop paying; near the size in "
        "use; far above it take more tasks, far below fewer"
    ),
    "inner/support_loss": "mean inner loss after k steps; falls with k; where it rises, lower the inner rate",
    "inner/query_loss": (
        "mean outer loss after k steps; falls with k; rising while the support loss falls: fewer steps or "
        "more shots"
    ),
    "inner/displacement": (
        "mean |theta_K - theta_0|; steady, above 0; near 0 nothing adapts: raise the inner rate, or take "
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
        "|after - before| / |g| of a variable, the outer learning rate as it comes out; moves smoothly; "
        "jumps: a gradient close to zero was scaled up, raise the optimizer's epsilon or clip"
    ),
    "variance": (
        "cost times tr(Cov) of an estimate; the smaller the better for any budget; large against the "
        "squared length of the meta-gradient: more pairs, a larger sigma, or shorter windows"
    ),
    "distance": (
        "|mean estimate - reference|; within its standard error, sqrt(variance / (cost calls)); more: the "
        "estimator is biased"
    ),
    "learned/mean": (
        "mean of a learned hyperparameter, as inner step k uses it; moves smoothly; stuck at its start: "
        "raise the outer rate"
    ),
    "learned/minimum": (
        "its smallest value; above 0 for a rate; below, the inner step climbs there: learn it with "
        "positive=True"
    ),
    "learned/maximum": (
        "its largest value; such that inner/stability stays below 2; beyond, lower the outer rate or clip "
        "per task"
    ),
}
"""Of each name, without step and meta-parameter: ``formula; what is healthy; what to do when it is not``."""


def meaning(key: str) -> str:
    """Return the entry of :data:`MEANINGS` for a key as returned, with its step and meta-parameter.

    Raises:
        KeyError: if there is none.
    """
    name = key
    while name and name not in MEANINGS:
        name = name.rpartition("/")[0]
    if not name:
        raise KeyError(key)
    return MEANINGS[name]
