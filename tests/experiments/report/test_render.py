"""A table as CSV, Markdown and HTML."""

import csv
import io

import pytest

from experiments.harness.report import render
from experiments.harness.report.table import tabulate
from tests.experiments.report.made_runs import make_group

GOOD = make_group("good", [[4, 1.0], [4, 1.1]])
FAR = make_group("far", [[4, 5.0], [4, 5.1]])


def test_csv_has_the_numbers_themselves():
    names, *lines = csv.reader(io.StringIO(render.comma_separated(tabulate([GOOD, FAR], "good"))))
    assert names == [
        "algorithm", "n", "before", "before ±", "after 1", "after 1 ±", "less good, after 1",
        "less good, after 1 ±", "ms / iteration", "learned",
    ]  # fmt: skip
    assert lines[0][:2] == ["good", "2"]
    assert [float(text) for text in lines[0][2:6]] == pytest.approx([4, 0, 1.05, 0.635310], rel=1e-5)
    assert lines[0][6:] == ["", "", "0.75", "30.0"]
    single = render.comma_separated(tabulate([make_group("one", [[4, 2]])], "none"))
    assert single.splitlines()[1] == "one,1,4.0,,2.0,,0.25,30.0"


def test_markdown_and_html_show_the_best_and_escape_the_rest():
    strange = make_group("<b>|`x`", [[4, 5.0], [4, 5.1]])
    table = tabulate([GOOD, strange], "none")
    first, second = render.markdown(table).splitlines()[2:]
    assert first == "| good | 2 | 4.000 ± 0.000 | **1.050 ± 0.635** | 0.75 | 30 |"
    assert second.startswith(r"| \<b\>\|\`x\` | 2 |")
    page = render.hypertext(table)
    assert "<td><b>1.050 ± 0.635</b></td>" in page
    assert '<td class="setting">&lt;b&gt;|`x`</td>' in page


def test_the_caption_says_over_what_intervals_are():
    caption = render.caption(tabulate([GOOD, FAR], "good"))
    assert "mean over n seeds ± 95 % t interval over seeds" in caption
    assert "Less good: mean difference, task by task, ± 95 % t interval over tasks" in caption
