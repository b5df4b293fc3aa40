"""A table as CSV, Markdown and LaTeX."""

import csv
import io

import pytest

from experiments.harness.report import render
from tests.experiments.report.made_runs import make_group, table_of

GOOD = make_group("good", [[4, 1.0], [4, 1.1]])
FAR = make_group("far", [[4, 5.0], [4, 5.1]])


def test_csv_has_the_numbers_themselves():
    names, *lines = csv.reader(io.StringIO(render.comma_separated(table_of(GOOD, FAR, baseline="good"))))
    assert names == [
        "algorithm", "n", "before", "before ±", "before, median", "before, diverged", "after 1", "after 1 ±",
        "after 1, median", "after 1, diverged", "minus good, after 1, over tasks",
        "minus good, after 1, over tasks ±", "minus good, after 1, over seeds",
        "minus good, after 1, over seeds ±", "diverged at", "ms / iteration", "learned",
    ]  # fmt: skip
    assert lines[0][:2] == ["good", "2"]
    numbers = [float(text) for text in lines[0][2:10]]
    assert numbers == pytest.approx([4, 0, 4, 0, 1.05, 0.635310, 1.05, 0], rel=1e-5)
    assert lines[0][10:] == ["", "", "", "", "", "0.75", "30.0"]
    single = render.comma_separated(table_of(make_group("one", [[4, 2]])))
    assert single.splitlines()[1] == "one,1,4.0,,4.0,0.0,2.0,,2.0,0.0,,0.25,30.0"
    wild = render.comma_separated(table_of(make_group("wild", [[4, 50]])))
    assert wild.splitlines()[1] == "wild,1,4.0,,4.0,0.0,,,50.0,1.0,1.0,0.25,30.0"


def test_markdown_and_latex_show_the_best_and_escape_the_rest():
    strange = make_group("<b>|`x`", [[4, 5.0], [4, 5.1]])
    table = table_of(GOOD, strange)
    first, second = render.markdown(table).splitlines()[2:]
    assert first == "| good | 2 | 4.000 ± 0.000 | **1.050 ± 0.635** | 1.050 | 0 % | 0.75 | 30 |"
    assert second.startswith(r"| \<b\>\|\`x\` | 2 |")
    latex = render.latex(table_of(GOOD, make_group(r"5 % $x_1 & \y", [[4, 5.0], [4, 5.1]])))
    assert (
        r"good & 2 & 4.000 $\pm$ 0.000 & \textbf{1.050 $\pm$ 0.635} & 1.050 & 0\,\% & 0.75 & 30 \\" in latex
    )
    assert r"5\,\% \$x\_1 \& \textbackslash{}y & 2" in latex.replace(r" \%", r"\,\%")


def test_the_caption_says_over_what_intervals_are():
    caption = render.caption(table_of(GOOD, FAR, baseline="good"))
    assert "mean over n seeds ± 95 % t interval over seeds" in caption
    assert "Minus good: mean difference ± 95 % t interval. Over tasks, each averaged over seeds" in caption
