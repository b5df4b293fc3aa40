"""Heads with a closed form or solver, which fit the last layer to a task's support before the first step."""

from metalearn.nn.heads.logistic import logistic
from metalearn.nn.heads.matching import matching
from metalearn.nn.heads.protocol import Head, linear_head
from metalearn.nn.heads.prototypes import prototypes
from metalearn.nn.heads.ridge import ridge
from metalearn.nn.heads.svm import svm

__all__ = ["Head", "linear_head", "logistic", "matching", "prototypes", "ridge", "svm"]
