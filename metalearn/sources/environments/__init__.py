"""Environments for meta-reinforcement learning."""

from metalearn.sources.environments.bandit import Bandit
from metalearn.sources.environments.cart_pole import CartPole
from metalearn.sources.environments.gymnasium import Gymnasium
from metalearn.sources.environments.navigation import Navigation
from metalearn.sources.environments.protocol import Environment, Spec
from metalearn.sources.environments.rollouts import Episodes, Noise
from metalearn.sources.environments.tabular import Tabular

__all__ = [
    "Bandit",
    "CartPole",
    "Environment",
    "Episodes",
    "Gymnasium",
    "Navigation",
    "Noise",
    "Spec",
    "Tabular",
]
