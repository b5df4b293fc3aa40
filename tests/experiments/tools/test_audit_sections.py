"""The audit of targets, operations and pooling, and of the known faulty operations."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments.tools.audit.cases import Case, normal
from experiments.tools.audit.operations import EXCLUDED, LISTED, operations
from experiments.tools.audit.orders import Orders, measure_orders
from experiments.tools.audit.pooling import CASES, Pooled, measure_pooling
from experiments.tools.audit.sections import SECTIONS, of_operations, of_pooling, of_targets
from experiments.tools.audit.targets import ByTargets, losses_of_targets, measure_targets
from metalearn.autodiff.culprits import KNOWN
from tests.documents import RESULTS

LOSSES = {case.name: case for case in losses_of_targets()}

ELSEWHERE = re.compile(r"keras\.(layers|losses|activations)\.")
"""Culprits that are measured as layers, losses and activations."""


@pytest.fixture(scope="module")
def functions():
    return {case.name: case for case in operations()}


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("keras.losses.categorical_crossentropy (logits)", "mixed: exactly 0"),
        ("tf.nn.softmax_cross_entropy_with_logits", "mixed: exactly 0"),
        ("keras.losses.categorical_crossentropy", ""),
        ("keras.losses.mean_absolute_error", ""),
        ("metalearn.losses.cross_entropy", ""),
        ("metalearn.losses.mse", ""),
    ],
)
def test_losses_by_their_targets(name, fault):
    assert measure_targets(LOSSES[name]).fault == fault


def test_faults_by_targets_are_seen():
    """A gradient by targets that is wrong by a factor of 1/2, and a missing one, are detected."""

    def judged(function):
        return measure_targets(Case("tried", "loss", function, (normal(2, 3), normal(2, 3)))).fault

    assert judged(lambda t, o: t * o) == ""
    assert judged(lambda t, o: (t + tf.stop_gradient(t)) * tf.sin(o)) == "gradient: wrong by 50%"
    assert judged(lambda t, o: t + tf.stop_gradient(t * o) - tf.stop_gradient(t) + o**2).startswith(
        "gradient"
    )
    assert "SoftsignGrad" in judged(lambda t, o: tf.nn.softsign(t * o))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("tf.nn.moments", "second: wrong"),
        ("keras.ops.layer_normalization", "second: wrong"),
        ("x ** 2 (at 0)", "third: not a number"),
        ("tf.square (at 0)", ""),
        ("tf.math.reduce_prod", ""),
        ("tf.math.reduce_prod (at a 0)", "second: wrong"),
        ("tf.math.cumprod (at a 0)", "first: wrong"),
        ("tf.nn.softsign", "second: none, SoftsignGrad has none"),
        ("tf.numpy_function", "first: none, None in its place"),
        ("tf.linalg.cholesky", ""),
        ("keras.ops.gelu", ""),
        ("tf.image.resize (bilinear)", "second: wrong by 100%"),
        ("tf.nn.max_pool3d", ""),
    ],
)
def test_operations(functions, name, fault):
    found = measure_orders(functions[name]).fault
    assert found.startswith(fault) if fault else not found


def test_steps_are_constant_and_no_fault(functions):
    for name in ("tf.math.floor", "tf.math.sign"):
        row = measure_orders(functions[name])
        assert row.is_constant
        assert row.fault == ""


def test_every_operation_has_one_name():
    names = [name for calls in LISTED.values() for name in calls]
    assert len(names) == len(set(names))
    assert not {name for names in EXCLUDED.values() for name in names} & set(names)


def test_every_function_of_neural_networks_is_covered(functions):
    """Every function of ``keras.ops.nn`` in the installed version is measured or excluded."""
    covered = {name.partition(" ")[0] for name in functions}
    covered |= {name for names in EXCLUDED.values() for name in names}
    tried = [case.function for case in functions.values()]  # some have two names
    missing = [
        name
        for name, value in vars(keras.ops).items()
        if getattr(value, "__module__", "") == "keras.src.ops.nn"
        if value not in tried and f"keras.ops.{name}" not in covered
    ]
    assert not missing


def test_known_culprits_are_among_what_is_measured(functions):
    """All operations that error messages name as faulty are among those that the audit measures."""
    measured = {name.partition(" (")[0] for name in [*functions, *LOSSES, *(name for name, _ in CASES)]}
    assert {name for name in KNOWN if not ELSEWHERE.match(name)} <= measured


def test_remedies_of_ours_exist():
    import metalearn

    for name in re.findall(r"metalearn\.\w+\.\w+", " ".join(culprit.remedy for culprit in KNOWN.values())):
        _, module, member = name.split(".")
        assert hasattr(getattr(metalearn, module), member), name


@pytest.mark.slow
def test_max_pooling_of_ours_is_exact_in_every_program():
    row = measure_pooling("metalearn.layers.MaxPooling2D", "float64")
    assert all(map(row.is_exact, (row.eager, *row.mapped.values())))


@pytest.mark.slow
def test_known_culprits_are_at_fault_and_ours_are_not(functions):
    """Operations that error messages name are faulty, and those of this package are not.

    The page lists all faulty names.
    """
    rows = [section.measure(case) for section in SECTIONS[:2] for case in section.cases()]
    faulty = {getattr(row, "name", None) or row.case.name for row in rows if row.fault}
    assert not [name for name in faulty if name.startswith("metalearn.")]
    known = {name for name in KNOWN if not ELSEWHERE.match(name)} - {"tf.math.reduce_max"}
    assert known <= {name.partition(" (")[0] for name in faulty}
    page = (RESULTS / "keras_derivatives.md").read_text()
    missing = [name for name in faulty if not re.search(rf"\| \*\*.*\| `{re.escape(name)}`", page)]
    assert not missing
    for case in CASES:
        row = measure_pooling(*case)
        assert row.is_exact(row.eager)
        assert row.is_exact(row.mapped["graph"])
        assert row.is_exact(row.mapped["XLA"]) or row.name.partition(" (")[0] in KNOWN


def test_the_markdown_names_every_row_once():
    text = of_targets([ByTargets("good", 0.0, 0.0, False), ByTargets("bad", 0.0, 1.0, True)])
    assert "| **mixed: exactly 0** | `bad` |" in text
    assert "| exact | `good` |" in text
    cases = {name: Case(name, "operation", abs, ()) for name in ("good", "x ** 2 (at 0)", "none", "step")}
    text = of_operations(
        [
            Orders(cases["good"], (0.0, 0.0, 0.0)),
            Orders(cases["x ** 2 (at 0)"], (0.0, 0.0, np.nan)),
            Orders(cases["none"], (0.0,), "SomeGrad has none"),
            Orders(cases["step"], (), is_constant=True),
        ]
    )
    assert "| exact to the third | `good` |" in text
    assert "| **third: not a number** | `x ** 2 (at 0)`; use tf.square(x) or x * x |" in text
    assert "| **second: none, SomeGrad has none** | `none` |" in text
    assert "| 0: piecewise constant | `step` |" in text
    text = of_pooling([Pooled("some", "float64", 1e-9, {"graph": 3.8, "XLA": "XLA has no Some"})])
    assert "| `some` | float64 | exact | **wrong by 380%** | **none: XLA has no Some** |" in text
