"""Runs whose code has changed: detected, reported, and never mixed without the user's consent."""

import json
import shutil
import subprocess

import pytest

from experiments import evaluate, reproduce
from experiments.harness.runs import code, rundir
from tests.experiments.small_runs import SHORT, call, content, folder, read, run

CHANGED = "metalearn/sources/regression/sinusoid.py"


@pytest.fixture
def changed(monkeypatch):
    """A change of code that is simulated by another digest."""
    files = code._files

    def edited(package):
        return ((name, "0" * 16 if name == CHANGED else digest) for name, digest in files(package))

    monkeypatch.setattr(code, "_files", edited)


def copied(run, runs):
    shutil.copytree(run.path, runs / "sinusoid" / run.path.name)
    return folder(runs)


def test_a_complete_run_says_that_other_code_made_it(short, tmp_path, changed, capfd):
    copy = copied(short[0], tmp_path)
    before = read(copy)
    assert run(tmp_path, SHORT) == 0
    printed = capfd.readouterr().out
    assert f"made by other code: {CHANGED} changed" in printed
    assert "run.fresh=true trains a new run" in printed
    assert read(copy) == before


def test_a_stopped_run_asks_before_it_mixes_two_programs(short, tmp_path, changed, capfd):
    """A stopped run of other code is rejected unchanged, and with consent resumes and is marked as mixed."""
    copy = copied(short[1], tmp_path)
    before = {path: path.read_bytes() for path in copy.path.rglob("*") if path.is_file()}
    assert run(tmp_path, SHORT) == 2
    message = capfd.readouterr().err
    assert f"{copy.path} was made by other code ({CHANGED} changed): run.resume=changed" in message
    assert "run.fresh=true" in message
    assert "Traceback" not in message
    assert {path: path.read_bytes() for path in copy.path.rglob("*") if path.is_file()} == before
    assert run(tmp_path, [*SHORT, "run.resume=changed"]) == 0
    assert content(copy) == content(short[0])
    manifest = json.loads(copy.manifest.read_text())
    (resumed,) = manifest["resumed"]
    assert manifest["code"]["files"][CHANGED] != resumed["code"]["files"][CHANGED] == "0" * 16
    assert manifest["code"]["digest"] != resumed["code"]["digest"]
    capfd.readouterr()
    assert run(tmp_path, SHORT) == 0
    printed = capfd.readouterr().out
    assert f"mixed: from iteration {resumed['iteration']} by other code" in printed
    assert "made by other code" not in printed


def test_evaluating_and_reproducing_name_the_same_change(short, tmp_path, changed, capfd):
    copy = copied(short[0], tmp_path)
    assert call(evaluate, f"run={copy.path}", "evaluation.tasks=4") == 0
    assert f"trained by other code: {CHANGED} changed" in capfd.readouterr().out
    assert call(reproduce, f"run={copy.path}", "until=5") == 0
    assert f"  {CHANGED} changed" in capfd.readouterr().out


def test_versions_and_new_files_and_unknown_code_are_changes():
    now = {"files": {"a.py": "1", "b.py": "2"}, "libraries": {"keras": "3.1", "numpy": "2"}}
    then = {"files": {"a.py": "1", "c.py": "2"}, "libraries": {"keras": "3.0", "numpy": "2"}}
    assert code.changes(then, now) == ["keras 3.0 then, 3.1 now", "b.py is new", "c.py is gone"]
    assert code.changes(now, now) == []
    for damaged in (None, [], {"files": 1, "libraries": {}}, {"commit": "a"}):
        assert code.changes(damaged, now) == ["the code that made it is not known"]
    assert code.summary([str(number) for number in range(7)]) == "0, 1, 2, 3, 4 and 2 more"


def test_packages_that_a_configuration_names_are_code_of_the_run(tmp_path, monkeypatch):
    package = tmp_path / "mine_of_this_test"
    package.mkdir()
    (package / "__init__.py").write_text("amplitude = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = {"task": {"_target_": "keras.optimizers.Adam", "inner": [{"_target_": f"{package.name}.Task"}]}}
    then = code.describe(config)
    assert f"{package.name}/__init__.py" in then["files"]
    assert not any(name.startswith(("keras/", "experiments/harness/report/")) for name in then["files"])
    (package / "__init__.py").write_text("amplitude = 10\n")
    now = code.describe(config)
    assert code.changes(then, now) == [f"{package.name}/__init__.py changed"]
    assert then["digest"] != now["digest"]
    assert code.describe(config) == now


def test_uncommitted_changes_have_untracked_files(tmp_path, monkeypatch):
    """Untracked source files are part of the diff, but not ignored, large or other files and links."""

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(code, "HOUSE", tmp_path / "experiments")
    git("init")
    (tmp_path / "known.py").write_text("a = 1\n")
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    git("add", ".")
    git("commit", "-m", "first")
    assert code.uncommitted({}) == ""
    (tmp_path / "known.py").write_text("a = 2\n")
    (tmp_path / "new.py").write_text("b = 3\n")
    (tmp_path / "ignored.py").write_text("c\n")
    (tmp_path / "data.bin").write_bytes(b"d")
    (tmp_path / "large.py").write_text("e" * (code.UNTRACKED_BYTES + 1))
    (tmp_path / "link.py").symlink_to("/etc/hostname")
    changes = code.uncommitted({})
    assert "-a = 1\n+a = 2" in changes
    assert "+b = 3" in changes
    assert not any(name in changes for name in ("ignored.py", "data.bin", "large.py", "link.py"))
    for name in ("new.py", "known.py"):
        (tmp_path / name).unlink()
    git("checkout", "known.py")
    (tmp_path / "changes").write_text(changes + "\n")
    git("apply", "changes")
    assert [(tmp_path / name).read_text() for name in ("known.py", "new.py")] == ["a = 2\n", "b = 3\n"]


def test_changes_of_a_second_start_are_kept_beside_the_first(tmp_path, monkeypatch):
    from experiments.harness.runs import provenance

    place = rundir.RunDirectory(tmp_path).uncommitted
    for number in (1, 2):
        monkeypatch.setattr(code, "uncommitted", lambda _, number=number: f"change {number}")
        provenance.keep_uncommitted(place, {})
    assert place.read_text() == "change 1\n"
    assert place.with_stem(f"{place.stem}-2").read_text() == "change 2\n"
