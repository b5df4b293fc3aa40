"""Images of zip files and folders: which files are read, as which class, and with which pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from experiments.data import reading
from experiments.harness.errors import UsageError


def file_of(array, kind="PNG"):
    """Return the file of an image with the pixels of an array."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


GREY = np.uint8([[0, 50], [100, 200]])


def written(place, *names):
    """Write images into a folder."""
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(file_of(GREY))


def test_what_systems_hide_is_not_read(tmp_path):
    """Files such as ``._1.png``, and all files in ``.ipynb_checkpoints`` and ``__MACOSX``, are skipped."""
    written(tmp_path / ".images", "a b/1.png", "a b/.ipynb_checkpoints/1.png", "__MACOSX/ä/1.png", "ä/1.JPG")
    (tmp_path / ".images" / "ä" / "._1.JPG").write_bytes(b"resource fork")
    (tmp_path / ".images" / "ä" / "notes.txt").write_text("no image")
    found = list(reading.from_folder(tmp_path / ".images"))
    assert [label for label, _, _ in found] == ["a b", "ä"]
