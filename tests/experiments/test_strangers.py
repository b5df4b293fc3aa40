"""Untrusted runs: nothing in them is executed, followed or waited for."""

from __future__ import annotations

import io
import os
import shutil
import sys
import zipfile

import numpy as np
import pytest

from experiments import evaluate, report, reproduce
from experiments.harness.console import clean, say
from experiments.harness.errors import UsageError
from experiments.harness.report import render
from experiments.harness.runs import arrays, rundir
from experiments.harness.runs.rundir import RunDirectory
from experiments.harness.sweeps.collection import collect
from tests.experiments.small_runs import SHORT, call, content, folder, run
from tests.often import mostly_slow


@pytest.fixture
def stopped(short, tmp_path):
    """A stopped run that can be resumed."""
    shutil.copytree(short[1].path, tmp_path / "sinusoid" / short[1].path.name)
    return folder(tmp_path)


@pytest.mark.parametrize(
    "name",
    mostly_slow(
        [".lock", "metrics.csv", "figures", "checkpoints", "wandb", "evaluation.json"],
        ".lock",
        "metrics.csv",
        "checkpoints",
    ),
)
def test_links_in_a_run_are_not_followed_for_writing(stopped, tmp_path, capfd, name):
    """A link in a run's folder is an error before anything is written, and its target is unchanged."""
    place, target = stopped.path / name, tmp_path / "elsewhere"
    if place.is_dir():
        shutil.move(place, target)
    else:
        target.write_bytes(place.read_bytes() if place.exists() else b"precious")
        place.unlink(missing_ok=True)
    place.symlink_to(target)
    before = sorted(target.iterdir()) if target.is_dir() else target.read_bytes()
    assert run(tmp_path, SHORT) == 2
    message = capfd.readouterr().err
    assert f"{place} is a link" in message
    assert "Remove it" in message
    assert (sorted(target.iterdir()) if target.is_dir() else target.read_bytes()) == before


@pytest.mark.parametrize("name", ["config.yaml", "manifest.json", "metrics.csv"])
def test_what_is_no_file_is_not_waited_for(stopped, tmp_path, capfd, name):
    """A pipe in place of a file is an error in all commands, which do not wait for a writer."""
    (stopped.path / name).unlink()
    os.mkfifo(stopped.path / name)
    for command in (evaluate, reproduce):
        assert call(command, f"run={stopped.path}") == 2
        assert f"{name} is not a regular file" in capfd.readouterr().err
    assert run(tmp_path, SHORT) == 2
    assert f"{name} is not a regular file" in capfd.readouterr().err


def test_a_report_and_a_reproduction_of_many_pass_over_a_bad_run(short, tmp_path, capfd):
    """Invalid runs are named in a report and in a reproduction, and valid ones are included."""
    runs = tmp_path / "runs"
    for name in ("good", "pipe", "large", "strange"):
        shutil.copytree(short[0].path, runs / name)
    (runs / "pipe" / "metrics.csv").unlink()
    os.mkfifo(runs / "pipe" / "metrics.csv")
    with (runs / "large" / "config.yaml").open("r+b") as file:
        file.truncate(2**40)
    rundir.update_manifest(RunDirectory(runs / "strange"), code=7, packages=[[]], files={"metrics.csv": []})
    assert call(report, f"runs={runs}") == 0
    printed = capfd.readouterr().out
    assert (runs / "report" / "index.html").exists()
    assert all(
        f"left out {runs / name}: " in printed or f"{name}/" in printed
        for name in ("pipe", "large", "strange")
    )
    assert "such a file may have at most" in printed
    assert call(reproduce, f"run={runs}", "until=2") == 2
    printed = capfd.readouterr().out
    assert f"same: {runs / 'good'}, 2 iterations" in printed
    assert printed.count("not compared: ") == 3
    assert "1 of 4 runs are the same" in printed


def test_text_that_no_file_can_have_leaves_its_run_out(short, tmp_path):
    for name in ("good", "bad"):
        shutil.copytree(short[0].path, tmp_path / name)
    bad = RunDirectory(tmp_path / "bad")
    afterwards = {**rundir.read_manifest(bad)["afterwards"], "label": "a\ud800"}
    rundir.update_manifest(bad, afterwards=afterwards)
    reasons = collect(tmp_path).runs["reason"]
    assert reasons["good"] == ""
    assert "surrogates not allowed" in reasons["bad"]


def test_a_report_does_not_follow_a_link(short, tmp_path, capfd):
    shutil.copytree(short[0].path, tmp_path / "runs" / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs" / "report").symlink_to(tmp_path / "elsewhere")
    assert call(report, f"runs={tmp_path / 'runs'}") == 2
    assert "report is a link" in capfd.readouterr().err
    assert not list((tmp_path / "elsewhere").iterdir())


def header(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("member", "stored"),
    [
        (header((10**12,)) + bytes(4), zipfile.ZIP_STORED),
        (header((2**62, 2**62)) + bytes(4), zipfile.ZIP_STORED),
        (header((10**9,)) + bytes(2**20), zipfile.ZIP_DEFLATED),
        (header((2,)) + bytes(4), zipfile.ZIP_STORED),
        (b"\x93NUMPY\x03\x00" + bytes(100), zipfile.ZIP_STORED),
    ],
)
def test_arrays_are_not_allocated_before_their_bytes_are_seen(tmp_path, member, stored):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", stored) as archive:
        archive.writestr("a.npy", member)
    with pytest.raises(UsageError, match=r"a\.npz"):
        arrays.read(path)


def test_arrays_are_read_back(tmp_path):
    written = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.array("text"),
        "c": np.empty((0, 4)),
        "d": np.int64(3),
    }
    np.savez(tmp_path / "a.npz", **written)
    found = arrays.read(tmp_path / "a.npz")
    assert list(found) == list(written)
    for name, value in written.items():
        np.testing.assert_array_equal(found[name], value)


def test_text_of_runs_is_shown_and_not_obeyed(capfd):
    say("[bold]a[/bold] \x1b[31mred\x07 \u202edesrever", "x[red]:")
    assert capfd.readouterr().out == "x[red]: [bold]a[/bold] \\x1b[31mred\\x07 \\u202edesrever\n"
    assert clean("plain ± é\n") == "plain ± é\n"
    assert clean("a\ud800b") == "a\\ud800b", "which no file can hold"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@a", "'@a"),
        ("+a", "'+a"),
        ("-2+3", "'-2+3"),
        ("-", "-"),
        ("-0.5", "-0.5"),
        ("1e-3", "1e-3"),
        ("\x1b[0m", "\\x1b[0m"),
        ("relu", "relu"),
    ],
)
def test_cells_of_tables_are_no_formulas(text, cell):
    assert render.in_spreadsheet(text) == cell


def test_output_that_is_not_utf_8_works(short, tmp_path, monkeypatch):
    """The table of an evaluation is printed to a terminal with ASCII only."""
    shutil.copytree(short[0].path, tmp_path / "sinusoid" / short[0].path.name)
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", written)
    assert run(tmp_path, SHORT) == 0
    written.flush()
    printed = written.buffer.getvalue().decode("ascii")
    assert "complete since" in printed
    assert content(folder(tmp_path)) == content(short[0])
