"""Images of zip files and folders: which files are read, as which class, and with which pixels."""

import io
import os
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from experiments import data
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


def test_folders_that_are_links_are_read_once(tmp_path):
    """A class may be a link; one that leads back, or to a class that was read, adds no images."""
    written(tmp_path / "store", "cat/1.png", "dog/1.png", "dog/2.png")
    (tmp_path / "images").mkdir()
    targets = {"cat": "store/cat", "dog": "store/dog", "hound": "store/dog", "again": "images"}
    for name, target in targets.items():
        (tmp_path / "images" / name).symlink_to(tmp_path / target)
    found = [(label, path) for label, path, _ in reading.from_folder(tmp_path / "images")]
    images = [f"{tmp_path}/images/{name}" for name in ("cat/1.png", "dog/1.png", "dog/2.png")]
    assert found == list(zip(["cat", "dog", "dog"], images, strict=True))


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    written(tmp_path, "cat/1.png", "dog/1.png")
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match=r"dog cannot be read .Permission denied.: allow it"):
        list(reading.from_folder(tmp_path))


@pytest.mark.parametrize(
    "name", ["1.png", "Latin/character01/1.png", "character01/1.png", "a/images_background/Latin/c/1.png"]
)
def test_a_zip_file_of_another_layout_is_refused(name, tmp_path):
    """Without the first folder, ``character01`` of all alphabets would be one class."""
    with zipfile.ZipFile(tmp_path / "images_background.zip", "w") as archive:
        archive.writestr(name, file_of(GREY))
        archive.writestr(f"__MACOSX/{name}", b"resource fork")
    with pytest.raises(UsageError, match=rf"background\.zip: {name} is not <set>/<alphabet>/<character>/"):
        list(reading.from_zips([tmp_path / "images_background.zip"]))


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({}, "holds no arrays: write it by numpy.savez"),
        ({"cat": np.zeros((2, 4, 4, 1))}, "cat is float64 .*: store integers from 0 to 255 as uint8"),
        ({"cat": np.zeros((2, 4, 4), np.uint8)}, r"cat is uint8 \(2, 4, 4\), .*: store .* axis of channels"),
        ({"cat": np.zeros((2, 4, 5, 1), np.uint8)}, r"set task\.size and task\.channels"),
        ({"cat": np.array([None])}, "cat.npy declares object"),
    ],
)
def test_arrays_that_are_no_images_are_refused_with_the_remedy(arrays, named, tmp_path):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(UsageError, match=named):
        reading.from_npz(tmp_path / "set.npz", (4, 4, 1))


def decoded(*files, channels=1):
    """Return the images of a class, read from files, ``[D, 2, 2, channels]``."""
    images = (("ink", "ink.png", file) for file in files)
    return reading.decoded(images, 2, channels, False, "the set")["ink"]


def test_images_of_all_kinds_have_8_bits():
    """Greys of 16 bits keep their brightness, and a film is its first image."""
    kinds = [GREY, GREY.astype(np.uint16) * 257]
    found = decoded(*map(file_of, kinds), *(file_of(kind, "TIFF") for kind in kinds))
    np.testing.assert_array_equal(found[..., 0], [GREY] * 4)
    np.testing.assert_array_equal(decoded(file_of(GREY > 60))[0, ..., 0], [[0, 0], [255, 255]])
    film = io.BytesIO()
    Image.fromarray(GREY).save(film, "GIF", save_all=True, append_images=[Image.fromarray(GREY.T)])
    np.testing.assert_array_equal(decoded(film.getvalue())[..., 0], [GREY])
    mixed = decoded(file_of(GREY), file_of(np.stack([GREY] * 3, -1)), channels=3)
    np.testing.assert_array_equal(mixed, [np.stack([GREY] * 3, -1)] * 2)


def test_what_is_transparent_is_white():
    """Black ink on a transparent ground, whose hidden colour is black too, is black on white."""
    ink = np.zeros((2, 2, 4), np.uint8)
    ink[0, :, 3] = 255
    palette = io.BytesIO()
    Image.fromarray(np.uint8([[0, 0], [1, 1]])).convert("P").save(palette, "PNG", transparency=1)
    found = decoded(file_of(ink), file_of(ink[..., [0, 3]]), palette.getvalue())
    np.testing.assert_array_equal(found[..., 0], [[[0, 0], [255, 255]]] * 3)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_of_unknown_range_are_refused(kind):
    with pytest.raises(UsageError, match=r"its pixels have 32 bits, .*: replace ink\.png"):
        decoded(file_of(GREY.astype(kind), "TIFF"))


def mini_imagenet(place, classes):
    """Write images and lists as those of mini-ImageNet are published; return the classes of each part."""
    names, part_of = [f"n{number:08}" for number in range(classes)], ("train", "val", "test")
    rows = {part: ["filename,label"] for part in part_of}
    for number, name in enumerate(names):
        for index in range(4):
            written(place / "images", f"{name}{index:08}.jpg")
            rows[part_of[number % 3]].append(f"{name}{index:08}.jpg,{name}")
    for part, listed in rows.items():
        (place / f"{part}.csv").write_text("\n".join([*listed, ""]))
    return [names[first::3] for first in range(3)]


def test_mini_imagenet_is_read_as_it_is_published(tmp_path):
    """Images of one folder have the classes and the parts of the lists, 84 pixels and colours."""
    parts = mini_imagenet(tmp_path, 6)
    tasks = data.mini_imagenet(str(tmp_path), ways=2, shots=1, queries=2)
    assert tasks.images.shape == (24, 84, 84, 3)
    numbers = [[int(name[1:]) for name in names] for names in parts]
    assert [list(tasks.parts[part]) for part in ("train", "validation", "test")] == numbers


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            lambda place: (place / "val.csv").unlink(),
            r"val\.csv does not exist\. Its lists .*meta-learning-lstm",
        ),
        (
            lambda place: shutil.rmtree(place / "images"),
            r"images does not exist\. Its lists .* task\.path=<folder>",
        ),
        (
            lambda place: (place / "images/n0000000100000002.jpg").unlink(),
            "02.jpg does not exist, but is listed",
        ),
        (
            lambda place: (place / "val.csv").write_text("filename,label\n../a.jpg,b\n"),
            r"a\.jpg does not exist",
        ),
        (lambda place: (place / "val.csv").write_text("label\nb\n"), "columns filename and label"),
        (lambda place: shutil.copy(place / "val.csv", place / "test.csv"), "is in validation and in test"),
    ],
)
def test_an_incomplete_mini_imagenet_is_named(tmp_path, damage, named):
    mini_imagenet(tmp_path, 3)
    damage(tmp_path)
    with pytest.raises(UsageError, match=named):
        data.mini_imagenet(str(tmp_path), ways=1, shots=1, queries=1)
