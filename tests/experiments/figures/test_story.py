"""The summary page of a run's meta-gradient: its numbers and its assessments of runs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.harness.figures.story import meta_gradients

ITERATIONS = np.array([0, 100, 200, 300])

LOSS, STABILITY, ORDER, ANGLES, NOISE, UPDATES = range(6)


def healthy() -> dict[str, np.ndarray]:
    falling, flat = np.array([4.0, 2.0, 1.0, 0.5]), np.ones(4)
    return {
        "order/norm": falling,
        "order/first_order_norm": falling + 0.5,
        "order/correction_norm": 0.5 * flat,
        "order/cosine": 0.9 * flat,
        "order/estimator_cosine": flat,
        "tasks/cosine": 0.1 * flat,
        "tasks/variance": 20.0 * flat,
        "tasks/signal": np.array([4.0, 2.0, 1.0, -1.0]),
        "tasks/conflicts": 0.4 * flat,
        **{f"inner/{kind}_loss/{k}": falling / (k + 1) for kind in ("support", "query") for k in range(11)},
        "inner/gradient_cosine": 0.5 * flat,
        "inner/stability": 1.5 * flat,
        "inner/unstable": 0 * flat,
        "update/ratio/parameters/output/kernel": 1e-3 * flat,
        "update/ratio/parameters/output/bias": np.array([1.0, 1e-3, 1e-3, 1e-3]),
    }


SICK = [
    (LOSS, {"inner/query_loss/10": np.full(4, 9.0)}),
    (LOSS, {"inner/support_loss/10": np.array([0.1, 9.0, 9.0, 9.0])}),
    (STABILITY, {"inner/stability": np.array([1.5, 1.9, 2.1, 1.0])}),
    (ORDER, {"order/norm": np.array([1.0, 1.0, 50.0, 1.0])}),
    (ANGLES, {"inner/gradient_cosine": np.full(4, -0.2)}),
    (ANGLES, {"tasks/cosine": np.array([0.5, -0.012, -0.012, -0.012])}),
    (NOISE, {"tasks/signal": np.full(4, 0.1)}),
    # Much signal in the first row, pooled with the others, would say 34 tasks: at the end none are enough.
    (NOISE, {"tasks/signal": np.array([2.5, 0.1, 0.05, -0.3])}),
    (UPDATES, {"update/ratio/parameters/output/kernel": np.full(4, 0.5)}),
    (UPDATES, {"update/ratio/parameters/output/kernel": np.array([1e-3, 5.5e-6, 5.5e-6, 5.5e-6])}),
]
"""What a panel is to object to."""


def verdicts(figure: Figure) -> list[str]:
    """Return the sign at the start of each panel's assessment."""
    said = [[text.get_text() for text in panel.texts] for panel in figure.axes]
    return [next(text[0] for text in texts if text[0] in "✓✗") for texts in said]


def curve(figure: Figure, panel: int, label: str) -> np.ndarray:
    (line,) = [line for line in figure.axes[panel].lines if line.get_label() == label]
    return np.asarray(line.get_ydata())


def test_it_shows_the_numbers() -> None:
    rows = healthy()
    figure = meta_gradients(ITERATIONS, rows, 25, "sinusoid")
    np.testing.assert_array_equal(curve(figure, LOSS, "query before"), rows["inner/query_loss/0"])
    np.testing.assert_array_equal(curve(figure, LOSS, "query after"), rows["inner/query_loss/10"])
    np.testing.assert_array_equal(curve(figure, STABILITY, "largest of the tasks"), rows["inner/stability"])
    np.testing.assert_array_equal(curve(figure, ORDER, "exact"), rows["order/norm"])
    np.testing.assert_array_equal(curve(figure, ANGLES, "two tasks"), rows["tasks/cosine"])
    # Variances over signals, of three rows: 20 / 4, 40 / 6, 60 / 7, and without the first 60 / (2 + 1 - 1).
    expected = [5, 20 / 3, 60 / 7, 30]
    np.testing.assert_allclose(curve(figure, NOISE, "noise scale, of 3 rows"), expected)
    np.testing.assert_array_equal(curve(figure, UPDATES, "output/kernel"), np.full(4, 1e-3))
    assert verdicts(figure) == ["✓"] * 6


@pytest.mark.parametrize(("panel", "rows"), SICK)
def test_each_sickness_is_marked_in_its_panel(panel: int, rows: dict[str, np.ndarray]) -> None:
    found = verdicts(meta_gradients(ITERATIONS, healthy() | rows, 25))
    assert [index for index, sign in enumerate(found) if sign == "✗"] == [panel]


def test_what_was_sick_long_ago_is_forgiven() -> None:
    early = {
        "inner/stability": np.array([9.0, 1.5, 1.5, 1.5]),
        "tasks/cosine": np.array([-1.0, 0.1, 0.1, 0.1]),
    }
    assert verdicts(meta_gradients(ITERATIONS, healthy() | early, 25)) == ["✓"] * 6


def test_what_is_not_finite_is_sick() -> None:
    """If the last row has no numbers, three panels are assessed as unhealthy."""
    gone = {name: np.append(row[:-1], np.nan) for name, row in healthy().items()}
    found = verdicts(meta_gradients(ITERATIONS, gone, 25))
    assert [found[panel] for panel in (STABILITY, ORDER, NOISE)] == ["✗"] * 3


def test_rules_without_a_limit_and_single_tasks_and_rows_can_be_drawn() -> None:
    rows = {
        name: row[:1]
        for name, row in healthy().items()
        if not name.startswith(("tasks/", "inner/stability", "inner/unstable"))
    }
    figure = meta_gradients(ITERATIONS[:1], rows, 1)
    said = [text.get_text() for panel in figure.axes for text in panel.texts]
    assert any("not plain descent" in text for text in said)
    assert any("one task" in text for text in said)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    assert file.getvalue()[:8] == b"\x89PNG\r\n\x1a\n"
