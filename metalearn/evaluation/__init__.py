"""Evaluation on fresh tasks."""

from metalearn.evaluation.evaluation import Evaluation, evaluate, evaluator

__all__ = ["Evaluation", "evaluate", "evaluator"]
