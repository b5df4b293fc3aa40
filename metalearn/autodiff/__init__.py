"""Derivatives of functions of nested tensors, usable on their own."""

from metalearn.autodiff.cotangents import pullback
from metalearn.autodiff.curvature import ggn, hessian_diagonal
from metalearn.autodiff.differences import Comparison, GradientReport, central_differences, check_gradients
from metalearn.autodiff.gradients import require_connected, value_and_gradient
from metalearn.autodiff.products import hessian, hvp, jvp, vjp
from metalearn.autodiff.solvers import Series, Solution, conjugate_gradient, neumann
from metalearn.autodiff.spectrum import (
    Density,
    Extremes,
    Lanczos,
    extreme_eigenvalues,
    lanczos,
    spectral_density,
)
from metalearn.nest import names

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
    "ggn",
    "hessian",
    "hessian_diagonal",
    "hvp",
    "jvp",
    "lanczos",
    "names",
    "neumann",
    "pullback",
    "require_connected",
    "spectral_density",
    "value_and_gradient",
    "vjp",
]
