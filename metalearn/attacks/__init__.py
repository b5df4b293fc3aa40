"""Adversarial examples, and learners that are trained and evaluated on them."""

from metalearn.attacks.ascent import Attack, fgsm, pgd, pgd_at
from metalearn.attacks.robust import Robust, judged, on_queries

__all__ = ["Attack", "Robust", "fgsm", "judged", "on_queries", "pgd", "pgd_at"]
