"""Bilevel problems and their learners."""

from metalearn.inner_loop import adapted
from metalearn.problems.applications import (
    actor_critic,
    cleaning,
    datarater,
    dirac,
    distillation,
    gaussians,
    influence_balancing,
    logistic,
    network,
    policy,
    quadratics,
    random_classifiers,
    ridge,
    unrolled_players,
)
from metalearn.problems.batches import slices
from metalearn.problems.bilevel import BilevelProblem, Noisy
from metalearn.problems.bilevel_learner import BilevelLearner
from metalearn.problems.few_shot import MetaLearner
from metalearn.problems.learner import Learner
from metalearn.problems.second_derivatives import SecondDerivatives, check_second_derivatives

__all__ = [
    "BilevelLearner",
    "BilevelProblem",
    "Learner",
    "MetaLearner",
    "Noisy",
    "SecondDerivatives",
    "actor_critic",
    "adapted",
    "check_second_derivatives",
    "cleaning",
    "datarater",
    "dirac",
    "distillation",
    "gaussians",
    "influence_balancing",
    "logistic",
    "network",
    "policy",
    "quadratics",
    "random_classifiers",
    "ridge",
    "slices",
    "unrolled_players",
]
