"""Modes: the statistics that normalisation layers use in inner steps and for queries.

s(B) are the mean and variance of a normalisation layer's inputs over examples B, S a task's support and Q its
query examples, ``theta_k`` the parameters after k inner steps, a the layer's momentum, and m its moving
statistics:

=============  ============  ===========================================================================
mode           inner step k  queries at theta_k
=============  ============  ===========================================================================
``batch``      s(S)          s(Q): their own
``support``    s(S)          s(S) at theta_k
``moving``     s(S)          ``m_k``, where ``m_{k+1} = a m_k + (1 - a) s(S)`` with s(S) at theta_k
``per_step``   s(S)          ``a m[k] + (1 - a) s(S)`` with s(S) at theta_k: each step k has a set m[k]
``…_affine``   the same, and scale and shift of step k, which the outer loop learns, in both columns
=============  ============  ===========================================================================

A model without batch statistics has the mode :class:`Plain`. Modes are frozen records that do not contain the
model; :func:`mode` returns the mode for a model.
"""

from metalearn.nn.modes.batch import Batch
from metalearn.nn.modes.choice import CHOICES, mode, needs_exact
from metalearn.nn.modes.moving import Moving
from metalearn.nn.modes.per_step import PerStep
from metalearn.nn.modes.plain import Plain
from metalearn.nn.modes.protocol import Mode
from metalearn.nn.modes.support import Support

__all__ = ["CHOICES", "Batch", "Mode", "Moving", "PerStep", "Plain", "Support", "mode", "needs_exact"]
