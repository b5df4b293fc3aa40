"""The exact estimators agree: every rule, learned numbers, phi in the inner loss, eager and compiled."""

import numpy as np
import pytest

import metalearn as ml

RULES = {
    "sgd": lambda learned: ml.rules.sgd(learned(0.1, per="variable", positive=True)),
    "momentum": lambda learned: ml.rules.momentum(learned(0.1, positive=True), momentum=learned(0.7)),
    "adam": lambda learned: ml.rules.adam(learned(0.05, per="element"), beta_1=learned(0.8)),
}

EXACT = {
    "checkpointed": lambda steps: ml.estimators.checkpointed(),
    "forward_mode": lambda steps: ml.estimators.forward_mode(),
    "full window": lambda steps: ml.estimators.truncated(window=steps),
}

WAYS = [
    pytest.param(rule, steps, mode, marks=pytest.mark.slow)
    for rule in RULES
    for steps in (1, 5, 20)
    for mode in ("eager", "xla")
]


@pytest.mark.parametrize(("rule", "steps", "mode"), WAYS)
def test_exact_estimators_agree(network, sinusoids, as_vector, with_xla, rule, steps, mode):
    """Losses and meta-gradients of every task equal those of nested tapes, to 1e-9 of their norm."""
    problem, meta = network(RULES[rule](ml.rules.learned), steps)

    def compute(estimator):
        function = lambda meta: estimator(problem, meta, sinusoids)[0]  # noqa: E731
        return (with_xla(function) if mode == "xla" else function)(meta)

    reference = compute(ml.estimators.unrolled())
    assert np.linalg.norm(as_vector(reference.gradient)) > 1e-2
    for name, build in EXACT.items():
        found = compute(build(steps))
        for field in ("loss", "gradient", "per_task"):
            ours, theirs = (as_vector(getattr(each, field)) for each in (found, reference))
            np.testing.assert_allclose(
                ours, theirs, rtol=0, atol=1e-9 * np.linalg.norm(theirs), err_msg=f"{name}, {field}"
            )
