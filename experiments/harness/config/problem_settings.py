"""Settings of problems, by name for all functions that have them."""

from __future__ import annotations

from . import kinds
from .kinds import Setting, one_of, optional

OBJECTS = ("model", "rater", "teacher", "generator", "discriminator", "rule", "estimator", "environment")
"""Parts of problems that are objects."""

PROBLEM: dict[str, Setting] = {
    "problem.features": Setting(kinds.COUNT, "of an input"),
    "problem.log_l2": Setting(kinds.NUMBER, "logarithm of each penalty before training"),
    "problem.examples": Setting(kinds.COUNT, "of the inner loss, each with a weight"),
    "problem.batch": Setting(optional(kinds.COUNT), "examples of an inner step; null for all"),
    "problem.steps": Setting(kinds.COUNT_OR_ZERO, "inner steps while training"),
    "problem.size": Setting(kinds.COUNT, "parameters of a quadratic function"),
    "problem.classes": Setting(kinds.TWO_OR_MORE, "of the examples"),
    "problem.widths": Setting(kinds.COUNTS, "the smallest and the largest number of hidden units"),
    "problem.next_batch": Setting(kinds.SWITCH, "the meta-loss is on the next mini-batch, not on the query"),
    "problem.averaged": Setting(kinds.SWITCH, "the meta-loss is a mean over inner steps, not only the last"),
    "problem.initial": Setting(kinds.NUMBER, "value before training"),
    "problem.seed": Setting(kinds.SEED, "of the model's initial parameters"),
    "problem.images": Setting(kinds.OBJECT, "initial values of the synthetic images"),
    "problem.data": Setting(kinds.OBJECT, "examples for pretraining"),
    "problem.pretraining": Setting(kinds.COUNT_OR_ZERO, "steps of pretraining"),
    "problem.sparsity": Setting(kinds.BELOW_ONE, "fraction of the weights that are pruned"),
    "problem.scores": Setting(
        one_of("uniform", "magnitude", "snip", "grasp", "damage", "surgeon"),
        "initial scores of the masks",
    ),
    "problem.strength": Setting(kinds.POSITIVE_OR_ZERO, "of the penalty for masks above the budget"),
    "problem.bits": Setting(kinds.TWO_OR_MORE, "of a weight, including its sign"),
    "problem.temperature": Setting(kinds.POSITIVE, "of the teacher's targets before training"),
    "problem.weight": Setting(kinds.FRACTION, "of the teacher's targets before training"),
    "problem.unrolled": Setting(kinds.COUNT_OR_ZERO, "unrolled steps of the discriminator"),
    "problem.smoothing": Setting(kinds.FRACTION, "target of the discriminator for real examples"),
    "problem.surrogate": Setting(
        one_of("dice", "lvc", "plain", "pathwise"), "surrogate objective for derivatives of the return"
    ),
    "problem.baseline": Setting(one_of("linear", "mean", "none"), "of the returns to go"),
    "problem.discount": Setting(kinds.FRACTION, "of rewards"),
    "problem.trace": Setting(kinds.FRACTION, "lambda of generalised advantages; 1 for whole returns"),
    "problem.reference": Setting(kinds.FRACTION, "discount of the outer loss"),
    "problem.normalized": Setting(kinds.SWITCH, "divide advantages by their standard deviation"),
    "problem.exploratory": Setting(
        kinds.SWITCH, "add the term for the sampling of the first rollouts (E-MAML)"
    ),
    "problem.deviation": Setting(kinds.POSITIVE, "of continuous actions"),
    "problem.radius": Setting(optional(kinds.POSITIVE), "of the trust region; null for none"),
    "problem.start": Setting(kinds.RANGE, "initial values of generator and discriminator"),
    **{f"problem.{part}": Setting(kinds.OBJECT, f"the {part} of the problem") for part in OBJECTS},
}
"""Declarations by path."""
