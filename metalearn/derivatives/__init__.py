"""Derivatives of functions of nested tensors, usable on their own."""

from metalearn.derivatives.checks import Comparison, GradientReport, central_differences, check_gradients
from metalearn.derivatives.gradients import require_connected, value_and_gradient
from metalearn.derivatives.products import hessian, hvp, jvp, vjp
from metalearn.derivatives.solvers import Series, Solution, conjugate_gradient, neumann
from metalearn.derivatives.spectrum import (
    Density,
    Extremes,
    Lanczos,
    extreme_eigenvalues,
    lanczos,
    spectral_density,
)
from metalearn.derivatives.structures import names

__all__ = [
    "Comparison",
    "Density",
    "Extremes",
    "GradientReport",
    "Lanczos",
    "Series",
    "Solution",
    "central_differences",
    "check_gradients",
    "conjugate_gradient",
    "extreme_eigenvalues",
    "hessian",
    "hvp",
    "jvp",
    "lanczos",
    "names",
    "neumann",
    "require_connected",
    "spectral_density",
    "value_and_gradient",
    "vjp",
]
