"""Evaluation on new tasks."""

from metalearn.evaluation.evaluation import Curve, Evaluation, evaluate, evaluator

__all__ = ["Curve", "Evaluation", "evaluate", "evaluator"]
