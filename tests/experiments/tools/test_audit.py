"""The audit of Keras: complete, without false positives, and consistent with its page."""

import inspect
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments import audit_keras
from experiments.harness.app.application import run_application
from experiments.harness.config.marked import marks
from experiments.tools.audit import report
from experiments.tools.audit.cases import Case, normal
from experiments.tools.audit.functions import LOSSES, UTILITIES, functions_of
from experiments.tools.audit.layers import EXCLUDED, layers
from experiments.tools.audit.measure import EXACT, NONE, WRONG, Row, measure
from experiments.tools.audit.report import MARK, cases, markdown, terminal_table
from experiments.tools.audit.sections import SECTIONS
from experiments.tools.audit.targets import losses_of_targets
from tests.documents import RESULTS

PAGE = RESULTS / "keras_derivatives.md"

CASES = {case.name: case for case in cases()}

WRONG_FUNCTIONS = ("categorical_crossentropy (logits, soft targets)", "ctc", "softsign")
"""Activations and losses without right second derivatives; of layers, the library knows them itself."""

QUICK = (
    *("Dense", "Conv2D", "Embedding", "Dropout", "Resizing"),
    *("categorical_crossentropy (logits)", "gelu", "softsign"),
    "metalearn.layers.softsign",
)
"""Cases of all kinds that take a second or two each."""

BEGIN, END = marks(MARK)

MAPPED = ("Dense", "Embedding", "Dropout", "gelu")
NOT_MAPPED = {"Conv2D": "Conv2D, its filter differing by task"}


def check(row):
    """Assert the properties that every row has."""
    assert row.error >= 0 or row.verdict != EXACT
    if row.case.is_layer:
        assert row.flagged == (row.verdict != EXACT)
    else:
        assert (row.case.name in WRONG_FUNCTIONS) == (row.verdict != EXACT)
    if row.case.name.startswith("metalearn."):
        assert row.verdict == EXACT
        assert row.mapped
    if not row.missing and not row.unmapped:
        assert row.mapped


@pytest.mark.parametrize("name", QUICK)
def test_what_the_library_calls_exact_is_exact(name):
    """Derivatives that the library calls exact agree to 1e-6 in both modes."""
    row = measure(CASES[name])
    check(row)
    if name in MAPPED:
        assert row.mapped
    assert row.unmapped == NOT_MAPPED.get(name, "")


@pytest.fixture(scope="module")
def rows():
    return [measure(case) for case in CASES.values()]


@pytest.mark.slow
def test_everything_that_the_library_calls_exact_is_exact(rows):
    for row in rows:
        check(row)


@pytest.mark.slow
def test_the_page_has_the_table(rows):
    """The page's table has the same names by result as a measurement here.

    Its figures depend on version and machine, and older versions have fewer names.
    """
    _, found, rest = PAGE.read_text().partition(BEGIN)
    assert found, f"{PAGE} needs {BEGIN} and {END}: python -m experiments.audit_keras write={PAGE}"
    table = rest.partition(END)[0].partition("\n### ")[0]
    here, there = verdicts(markdown(rows)), verdicts(table)
    assert here.items() <= there.items()
    assert {name for name in there if "Adaptive" not in name} <= set(here)


def verdicts(table):
    """Return the verdict of every name in a Markdown table."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    return {
        name: re.sub(r" by \d+%", "", verdict)
        for verdict, names in lines
        for name in re.findall("`([^`]+)`", names.partition(";" if "**" in verdict else "\0")[0])
    }


def test_rows_are_the_same_in_every_process():
    """Results do not depend on random weights or settings, and settings are restored."""
    before = keras.config.floatx(), keras.config.dtype_policy().name
    keras.utils.set_random_seed(1)
    first = measure(CASES["PReLU"])
    keras.utils.set_random_seed(2)
    assert measure(CASES["PReLU"]) == first
    assert (keras.config.floatx(), keras.config.dtype_policy().name) == before


def test_every_layer_of_keras_is_covered_or_left_out_with_a_reason():
    """Every layer of the installed version of Keras is measured, or excluded with a reason."""
    covered = {id(getattr(keras.layers, case.keras_name, None)) for case in layers()}
    covered.add(id(keras.layers.StackedRNNCells))
    excluded = [name for names in EXCLUDED.values() for name in names]
    assert len(excluded) == len(set(excluded))
    missing = [
        name
        for name, value in vars(keras.layers).items()
        if inspect.isclass(value) and id(value) not in covered and name not in excluded
    ]
    assert missing == []


def test_every_activation_and_loss_of_keras_is_covered():
    assert set(functions_of(keras.activations)) <= set(CASES)
    covered = {name.partition(" ")[0] for name in LOSSES}
    assert set(functions_of(keras.losses)) == covered
    classes = [
        name for name, value in vars(keras.losses).items() if inspect.isclass(value) and name != "Loss"
    ]
    in_snake_case = {
        re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower() for name in classes
    }
    assert in_snake_case <= covered
    assert all(hasattr(keras.losses, name) for name in UTILITIES)


def test_faults_are_seen():
    """Wrong derivatives of a custom gradient, missing derivatives and NaN are detected."""

    @tf.custom_gradient
    def cubed(x):
        return x**3, lambda upstream: upstream * 3 * tf.stop_gradient(x) ** 2

    def verdict(function):
        return measure(Case("tried", "activation", function, (normal(3),)))

    assert verdict(lambda x: x**3).verdict == EXACT
    wrong, none = verdict(cubed), verdict(tf.nn.softsign)
    assert wrong.verdict == WRONG
    assert wrong.error > 0.1
    assert (none.verdict, none.missing) == (NONE, "SoftsignGrad")
    assert verdict(lambda x: tf.where(x > 0, tf.sqrt(x), 0 * x)).verdict == WRONG


def row(name, error=1e-12, missing="", unmapped=""):
    case = Case(name, "core", abs, (normal(2),))
    return Row(case, error, missing, unmapped, 0.0, False)


ROWS = [
    row("Good"),
    row("Alone", unmapped="a loop"),
    row("Bad", error=0.25),
    row("None", error=np.nan, missing="SomeGrad"),
    row("Lost", error=np.nan),
    row("metalearn.layers.Bad"),
]


def test_the_markdown_table_names_every_row_once():
    text = markdown(ROWS)
    assert "| exact | core: `Good`, `metalearn.layers.Bad` |" in text
    assert "| exact, one task at a time: no `vectorized_map` | core: `Alone` |" in text
    assert "| **wrong by 25%** | core: `Bad`; `metalearn.layers.Bad` is exact |" in text
    assert "| **none: SomeGrad has no derivative** | core: `None` |" in text
    assert "| **not a number** | core: `Lost` |" in text
    assert set(verdicts(text)) == {each.case.name for each in ROWS}


def test_the_table_goes_between_the_marks(tmp_path, monkeypatch, capfd):
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    monkeypatch.setattr(report, "cases", lambda: [CASES["relu"]])
    monkeypatch.setattr(report, "SECTIONS", [SECTIONS[0]._replace(cases=lambda: [*losses_of_targets()][-1:])])
    monkeypatch.setattr(sys, "argv", ["audit_keras", f"write={path}"])
    with pytest.raises(SystemExit) as stopped:
        run_application(audit_keras.main, "audit_keras")
    assert not stopped.value.code
    printed = capfd.readouterr().out
    assert "relu" in printed
    assert "metalearn.losses.mse" in printed
    assert re.fullmatch(
        rf"before\n{BEGIN}\n1 cases.*`relu`.*\n### Losses.*`metalearn.losses.mse`.*\n{END}\nafter\n",
        path.read_text(),
        re.DOTALL,
    )


def test_a_file_that_is_not_there_is_refused_before_anything_is_measured(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(report, "measure", lambda case: pytest.fail("measured"))
    monkeypatch.setattr(sys, "argv", ["audit_keras", f"write={tmp_path}/none.md"])
    with pytest.raises(SystemExit) as stopped:
        run_application(audit_keras.main, "audit_keras")
    assert stopped.value.code == 2
    assert "none.md cannot be read: No such file" in capfd.readouterr().err


def test_the_terminal_shows_every_row():
    table = terminal_table(ROWS)
    assert table.row_count == len(ROWS)
