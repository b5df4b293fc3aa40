"""Settings of objects that are themselves settings of other objects, and the paths of such objects."""

from __future__ import annotations

from . import kinds
from .kinds import Setting, one_of, optional

PARTS: dict[str, Setting] = {
    "learned.initial": Setting(kinds.NUMBER, "value before meta-training"),
    "learned.per": Setting(one_of("scalar", "variable", "element"), "what has its own value"),
    "learned.steps": Setting(
        optional(kinds.COUNT), "inner steps with their own values; null for a common one"
    ),
    "learned.positive": Setting(kinds.SWITCH, "learn the logarithm"),
    "learned.within": Setting(optional(kinds.RANGE), "learn a value between two bounds"),
    "schedule.initial_learning_rate": Setting(kinds.POSITIVE_OR_ZERO, "rate of the first iteration"),
    "schedule.decay_steps": Setting(kinds.COUNT, "iterations of the decay"),
    "schedule.alpha": Setting(kinds.POSITIVE_OR_ZERO, "the last rate as a fraction of the first"),
    "head.strength": Setting(kinds.POSITIVE, "of the penalty, before training"),
    "head.learned": Setting(kinds.SWITCH, "learn the strength"),
    "head.scale": Setting(optional(kinds.POSITIVE), "of the logits, before training; null for none"),
    "head.bound": Setting(kinds.POSITIVE, "of the dual variables, C"),
    "head.steps": Setting(kinds.COUNT, "of Newton's method"),
    "environment.goal": Setting(kinds.RANGE, "range of the goal"),
    "environment.length": Setting(kinds.RANGE, "range of half of the pole's length"),
    "environment.states": Setting(kinds.COUNT, "of a decision process"),
    "environment.choices": Setting(kinds.TWO_OR_MORE, "actions to choose from"),
    "attack.radius": Setting(kinds.POSITIVE_OR_ZERO, "of the ball around the inputs, maximum norm"),
    "attack.radii": Setting(kinds.NUMBERS, "of the balls around the inputs"),
    "attack.steps": Setting(kinds.COUNT, "of the ascent"),
    "attack.step_size": Setting(optional(kinds.POSITIVE), "of the ascent; null for 2.5 radius / steps"),
    "attack.seed": Setting(
        optional(kinds.COUNTS), "two integers, of a random start; null to start from inputs"
    ),
    "attack.bounds": Setting(optional(kinds.RANGE), "smallest and largest value of the data"),
    "step_weights.iterations": Setting(kinds.COUNT, "of the whole training"),
    "step_weights.fraction": Setting(kinds.FRACTION, "of the iterations, in which the weights are annealed"),
}
"""Declarations of the settings of such objects."""

PLACES = {
    r"(evaluation|validation)\.task\.": "task.",
    r"evaluation\.rule\.": "rule.",
    r"problem\.(images|data)\.": "task.",
    r"problem\.(rule|estimator)\.": r"\1.",
    r"(task|problem)\.environment\.": "environment.",
    r"problem\.(model|rater|teacher|generator|discriminator)\.": "model.",
    r"rule\.rule\.": "rule.",
    r"rule\.\w+\.": "learned.",
    r"estimator\.(first|then)\.": "estimator.",
    r"optimizer\.learning_rate\.": "schedule.",
    r"learner\.(head|step_weights|attack)\.": r"\1.",
    r"evaluation\.attacks\.": "attack.",
}
"""Patterns of paths, and the prefix under which the settings at these paths are declared."""
