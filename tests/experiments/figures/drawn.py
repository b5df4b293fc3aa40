"""Helpers for tests of figures: synthetic histories, and access to drawn elements."""

from __future__ import annotations

import io
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metalearn.training import LOSSES

VARIABLES = ("parameters/hidden_0/kernel", "parameters/hidden_0/bias", "rule/learning_rate")
REFERENCES = {"predicting 0": 4.252, "best without adapting": 3.006}


def make_history(rows: int, variables: tuple[str, ...] = VARIABLES) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    names = (*LOSSES, "meta_gradient/norm", *(f"meta_gradient/norm/{name}" for name in variables))
    history = {name: random.lognormal(size=rows).astype(np.float32) for name in names}
    return {**history, "learning_rate": np.full(rows, 1e-3, np.float32)}


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    return file.getvalue()


def lines(figure: Figure, panel: int = 0) -> dict[str, Any]:
    return {str(line.get_label()): line for line in figure.axes[panel].lines}


def assert_no_text_is_cut_or_covered(figure: Figure) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes = figure.axes[0]
    legends = [legend.get_window_extent() for legend in figure.legends]
    texts = [
        text for text in (*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label) if text.get_text()
    ]
    boxes = legends + [text.get_window_extent(canvas.get_renderer()) for text in texts]
    width, height = figure.canvas.get_width_height()
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
