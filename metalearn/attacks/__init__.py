"""Adversarial examples, and learners that are trained and judged on them."""

from metalearn.attacks.ascent import Attack, fgsm, pgd
from metalearn.attacks.robust import Robust, on_queries

__all__ = ["Attack", "Robust", "fgsm", "on_queries", "pgd"]
