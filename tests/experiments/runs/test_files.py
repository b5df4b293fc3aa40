"""Atomic writing of files: content is on disk before the file is replaced, and links are not followed."""

import os
from pathlib import Path

import numpy as np
import pytest

from experiments.harness.runs import files, metrics


def test_a_file_is_on_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    """The content is flushed to disk before the file is renamed.

    So after a power failure there is either the old or the new file.
    """
    events = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor):
        events.append(("on disk", os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        fsync(descriptor)

    def replaced(source, target):
        events.append(("in place", source.stat().st_ino, source.stat().st_size))
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    files.write_atomically(tmp_path / "a", lambda file: file.write(b"content"))
    inode = (tmp_path / "a").stat().st_ino
    assert events == [("on disk", inode, 7), ("in place", inode, 7)]


def test_rows_are_on_disk_before_a_checkpoint_speaks_of_them(tmp_path, monkeypatch):
    path, synced = tmp_path / "metrics.csv", []
    metrics.append(path, 0, {"loss": np.ones(2)})
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    position = metrics.position(path)
    assert synced == [path.stat().st_ino]
    metrics.append(path, 2, {"loss": np.ones(1)})
    metrics.go_back(path, position)
    assert synced == [path.stat().st_ino] * 2


def test_a_link_is_replaced_and_not_followed(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("precious")
    link.symlink_to(target)
    temporary = tmp_path / f".link.{os.getpid()}{files.TEMPORARY}"
    temporary.symlink_to(target)
    files.write_atomically(link, lambda file: file.write(b"new"))
    assert (target.read_text(), link.read_text(), link.is_symlink()) == ("precious", "new", False)
    link.unlink()
    link.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        metrics.append(link, 0, {"loss": np.ones(1)})
    assert target.read_text() == "precious"
