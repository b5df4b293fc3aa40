"""The report command: its table equals one computed by hand, also for missing runs and a single seed."""

import re
import sys
import types

import pytest

from experiments import report
from experiments.harness.app.application import run_application
from experiments.harness.report import write
from tests.experiments.report import made_runs
from tests.experiments.report.made_runs import make_run


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch):
    made_runs.spare(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    """Two seeds of a baseline, one of another algorithm, one that diverges, three without numbers."""
    make_run(tmp_path, "maml", 0, [[4, 1], [2, 3], [3, 2]])
    make_run(tmp_path, "maml", 1, [[4, 3], [2, 5], [3, 4]])
    make_run(tmp_path, "other", 0, [[4, 1], [2, 3], [3, 5]])
    make_run(tmp_path, "wild", 0, [[4, 1], [2, float("inf")], [3, 5]])
    make_run(tmp_path, "other", 1, [[9, 9]] * 3, status="running")
    make_run(tmp_path, "wild", 3, [[9, 9]] * 3, status="failed")
    make_run(tmp_path, "elsewhere", 0, [[9, 9]] * 3, status="failed", task={"shots": 5})
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch):
    """Skip figures, to save time."""
    monkeypatch.setattr(write, "_draw", lambda *_: [])


def execute(monkeypatch, capfd, *arguments):
    monkeypatch.setattr(sys, "argv", ["report", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_application(report.main, "report")
    return stopped.value.code, capfd.readouterr()


@pytest.mark.usefixtures("undrawn")
def test_the_table_is_the_one_computed_by_hand(folder, monkeypatch, capfd):
    """The table in a page equals the one computed by hand.

    After a step the seeds of maml are at 2 and 4: 3 ± 12.706 * sqrt(2)

    sqrt(2); that of other, at 3. Averaged over seeds its tasks are at 2, 4 and 3; other minus maml is -1, -1
    and 2: mean 0, standard deviation sqrt(3), over sqrt(3) tasks, times 4.303.
    """
    page = folder / "page.md"
    page.write_text("before\n<!-- report:begin -->\nold\n<!-- report:end -->\nafter\n")
    code, captured = execute(monkeypatch, capfd, f"runs={folder}", f"write={page}")
    assert code == 0
    text = page.read_text()
    assert text.startswith(
        "before\n<!-- report:begin -->\nsinusoid, 10-shot: mse on 3 held-out tasks (list abc) before"
    )
    assert text.endswith("<!-- report:end -->\nafter\n")
    assert re.findall(r"^[|-] .*", text, re.MULTILINE) == [
        "| algorithm | n | before | after 1 | median, after 1 | diverged, after 1 "
        "| minus maml, after 1, ± over tasks | minus maml, after 1, ± over seeds "
        "| ms / iteration | learned |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
        "| maml | 2 | 3.000 ± 0.000 | 3.000 ± 12.706 | 3.000 | 0 % | - | - | 0.75 | 30 |",
        "| other | 1 | 3.000 | 3.000 | 3.000 | 0 % | 0.0000 ± 4.3027 | 1.000 | 0.25 | 30 |",
        "| wild | 1 | 3.000 | diverged at 1 | 5.000 | 33.3 % | - | - | 0.25 | 30 |",
        "- other, seed 1: running at iteration 7: the same command resumes it",
        "- wild, seed 3: failed at iteration 7: not finite: meta_gradient/norm",
        "- wild, seed 1: missing",
    ]
    for line in ("┃ minus maml, after ┃", "0.0000 ± 4.3027", "wild, seed 1: missing", "not finite: meta_gr"):
        assert line in captured.out
    lines = (folder / "report" / "sinusoid_10_shot.csv").read_text().splitlines()
    numbers = r"other,1,3\.0,,3\.0,0\.0,3\.0,,3\.0,0\.0,0\.0,4\.3026527\d*,1\.0,,,0\.25,30\.0"
    assert re.fullmatch(numbers, lines[2])
    assert r"maml & 2 & 3.000 $\pm$ 0.000" in (folder / "report" / "sinusoid_10_shot.tex").read_text()
    html = (folder / "report" / "index.html").read_text()
    for line in ("<td>3.000 ± 12.706</td>", "<li>wild, seed 1: missing</li>", "Runs: 4 finished, 3 others"):
        assert line in html
    assert "no table</h2>\n<ul>\n<li>" in html


def test_figures_are_written_and_on_the_page(folder, monkeypatch, capfd):
    code, captured = execute(monkeypatch, capfd, f"runs={folder}", "formats=[png,pdf]")
    assert code == 0
    place = folder / "report"
    assert f"one page: {place / 'index.html'}" in captured.out
    figures = sorted(place.glob("*.png"))
    endings = ["", "_learning_curves", "_loss_by_step"]
    assert [figure.stem for figure in figures] == [f"sinusoid_10_shot{ending}" for ending in endings]
    assert all(figure.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for figure in figures)
    assert [path.stem for path in sorted(place.glob("*.pdf"))] == [path.stem for path in figures]
    assert not list(place.glob("*.svg"))
    assert (place / "index.html").read_text().count('<img src="data:image/svg+xml;base64,PD94') == 3


@pytest.mark.usefixtures("undrawn")
def test_lists_of_tasks_have_files_of_their_own_inside_the_folder(folder, monkeypatch, capfd):
    """Each list of tasks has its own files in the report's folder, whatever the experiment's name."""
    make_run(folder / "more", "new", 0, [[1, 1]] * 2)
    make_run(folder / "more", "maml", 0, [[1, 1]] * 4, name="../../[red]")
    assert execute(monkeypatch, capfd, f"runs={folder}")[0] == 0
    names = sorted(path.name for path in (folder / "report").iterdir())
    assert names == [
        "_______red__10_shot.csv",
        "_______red__10_shot.tex",
        "index.html",
        "sinusoid_10_shot.csv",
        "sinusoid_10_shot.tex",
        "sinusoid_10_shot_2.csv",
        "sinusoid_10_shot_2.tex",
    ]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["runs={0}/none"], "none is not a folder"),
        (["runs={0}/empty"], "contains no runs"),
        (["runs={0}", "write={0}/none.md"], "none.md cannot be read"),
        (["runs={0}", "formats=[gif]"], "formats=['gif'] must be a list of png, svg and pdf"),
        ([], "runs"),
    ],
)
def test_bad_input_gets_one_clear_message(folder, monkeypatch, capfd, arguments, named):
    (folder / "empty").mkdir()
    code, captured = execute(monkeypatch, capfd, *(argument.format(folder) for argument in arguments))
    assert code == 2
    assert named in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.usefixtures("undrawn")
def test_a_run_of_code_that_is_not_trusted_is_left_out_and_named(folder, monkeypatch, capfd):
    """Runs of untrusted code are excluded, with exit code 2, unless the package is trusted."""
    make_run(folder, "theirs", 0, [[4, 1], [2, 3], [3, 2]], task={"_target_": "lab_of_theirs.Task"})
    code, captured = execute(monkeypatch, capfd, f"runs={folder}")
    assert code == 2
    assert "packages=[lab_of_theirs]" in captured.out
    assert "theirs" not in (folder / "report" / "sinusoid_10_shot.csv").read_text()
    code, captured = execute(monkeypatch, capfd, f"runs={folder}", "packages=lab_of_theirs")
    assert code == 0
    assert "not allowed" not in captured.out


def test_names_of_files_are_short_enough_and_differ():
    table = types.SimpleNamespace(setting="sinusoid, 1" + 300 * "0" + "-shot")
    stems = write._stems([table, table])
    assert stems[1] == f"{stems[0]}_2"
    assert len(stems[1]) < 100
