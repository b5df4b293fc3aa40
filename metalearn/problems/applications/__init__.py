"""Applications of gradients through learning: each is a function that returns a learner."""

from metalearn.problems.applications.actor_critic import actor_critic
from metalearn.problems.applications.cleaning import cleaning
from metalearn.problems.applications.datarater import datarater
from metalearn.problems.applications.dirac import dirac
from metalearn.problems.applications.distillation import distillation
from metalearn.problems.applications.gaussians import gaussians
from metalearn.problems.applications.influence_balancing import influence_balancing
from metalearn.problems.applications.logistic import logistic
from metalearn.problems.applications.network import network
from metalearn.problems.applications.players import unrolled_players
from metalearn.problems.applications.policy import policy
from metalearn.problems.applications.quadratics import quadratics
from metalearn.problems.applications.random_classifiers import random_classifiers
from metalearn.problems.applications.ridge import ridge

__all__ = [
    "actor_critic",
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
    "unrolled_players",
]
