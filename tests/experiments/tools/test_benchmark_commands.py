"""The benchmark's starts and workers, which are whole commands, their tables, and the figures."""

import numpy as np
import pytest

from experiments.tools.benchmark import commands, figures, measure, report


def group_of(*programs):
    times, nothing = np.array([2.0, 3.0, 4.0]), np.full(3, np.nan)
    return [
        measure.Measurement(program, 1, 40, factor * times, nothing, megabytes=5.0)
        for factor, program in enumerate(programs, 1)
    ]


def test_starts_are_of_new_processes_with_their_stored_programs(monkeypatch, tmp_path):
    """A first start has an empty folder; later ones share one, and the first of them is left out."""
    folders = []

    def start(name, steps, folder, limit_seconds):
        folders.append((name, folder, list(folder.iterdir())))
        (folder / str(len(folders))).touch()
        return float(len(folders)), 7.0

    monkeypatch.setattr(commands, "_start", start)
    monkeypatch.setattr(commands.importlib.util, "find_spec", lambda name: None)
    first = commands.starts("first", 1, 2, 60)
    assert [row.program for row in first] == [commands.COMMAND, commands.LIBRARY]
    assert all(not kept for *_, kept in folders)
    assert len({folder for _, folder, _ in folders}) == 4
    folders.clear()
    later = commands.starts("later", 1, 2, 60)
    assert [len(kept) for *_, kept in folders] == [0, 0, 1, 1, 2, 2]
    assert [folders[place][1] for place in (0, 1)] == [folders[place][1] for place in (2, 3)]
    assert [list(row.microseconds / 1e6) for row in later] == [[3.0, 5.0], [4.0, 6.0]]
    assert later[0].megabytes == 7.0


@pytest.mark.slow
def test_a_later_start_is_faster_than_a_first():
    first, later = (commands.starts(which, 1, 1, 60) for which in commands.STARTS)
    for before, after in zip(first[:2], later[:2], strict=True):
        assert after.median < before.median
    assert later[1].megabytes < first[1].megabytes


@pytest.mark.slow
def test_workers_are_measured_as_whole_trainings(monkeypatch):
    monkeypatch.setattr(commands, "CONV4", (*commands.CONV4, "training.meta_batch_size=4", "model.filters=4"))
    one, two = commands.shared(2, iterations=2, rounds=1)
    assert [row.program for row in (one, two)] == ["metalearn, 1 worker", "metalearn, 2 workers"]
    assert all(row.median > 1e6 for row in (one, two))


def test_a_command_that_fails_is_reported(monkeypatch, tmp_path):
    """The reason is the end of its output, and the exit code of the benchmark says that it failed."""
    with pytest.raises(measure.ProgramError, match=r"there is no setting no\.such\.setting"):
        commands._seconds(["no.such.setting=1"], tmp_path, {})

    def fails(*_):
        raise measure.ProgramError("no memory")

    monkeypatch.setattr(commands, "starts", fails)
    monkeypatch.setattr(
        commands, "shared", lambda *_: group_of("metalearn, 1 worker", "metalearn, 2 workers")
    )
    config = {
        "start": {"inner_steps": [1], "rounds": 1},
        "workers": {"counts": [2], "iterations": 3, "rounds": 1},
    }
    found = list(report._commands({**config, "limit_seconds": 1}))
    assert [section for section, *_ in found] == ["start", "start", "workers"]
    assert found[0][2][0].failure == "no memory"
    assert found[0][2][0].program.startswith(report.OURS)


def test_tables_of_commands_have_no_processor_time():
    """They have times in units that suit them, and nothing where nothing was measured."""
    table = report._table("a start", group_of(commands.COMMAND, "JAX"), "cpu")
    assert [column.header for column in table.columns] == [
        *("program", "median", "times the first", "compile s", "MB")
    ]
    assert [*table.columns[2].cells] == ["", "2.00 (2.00 to 2.00)"]
    assert [*table.columns[3].cells] == ["-", "-"]
    assert [report._time(each) for each in (121.4, 1234.5, 2.5e6)] == ["121 µs", "1.23 ms", "2.5 s"]


def test_figures_compare_what_was_measured():
    """A line for each group, a colour for each program; failures, and nothing to compare, leave no trace."""
    failed = measure.Measurement("other", 1, 40, failure="too slow")
    groups = [
        ("a", group_of("ours", "other", "third")),
        ("b", [*group_of("ours"), failed]),
        ("c", group_of("ours", "third")),
    ]
    figure = figures.compared(groups)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "c"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["other", "third"]
    assert figures.compared(groups[1:2]) is None
    assert figures.estimators([failed]) is None
