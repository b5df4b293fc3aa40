"""Images as arrays, from zip, ``.npz`` and image files, whose sizes are checked before they are read."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..harness.errors import UsageError
from ..harness.runs import arrays
from ..harness.runs.files import read_bytes, require_regular

KINDS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")

LARGEST = 2**34
"""Largest number of bytes of all decoded images of a set, and of a file that holds a set."""

LARGEST_IMAGE = 2**26
"""Largest number of bytes of the file of an image, and of a list of classes."""

Named = tuple[str, bytes]
"""The class of an image, and its file."""


def from_zips(paths: Iterable[Path]) -> Iterator[Named]:
    """Yield the images of zip files, each once; the class of an image is the path of its folder.

    Raises:
        UsageError: if a file is not a zip file, is damaged, or contains a file that is too large for an
            image.
    """
    seen: set[str] = set()
    for path in paths:
        try:
            require_regular(path, LARGEST)
            with zipfile.ZipFile(path) as archive:
                for member in sorted(archive.infolist(), key=lambda member: member.filename):
                    name = member.filename
                    inside = name.partition("/")[2]  # the first folder has the name of the file
                    if name.lower().endswith(KINDS) and inside not in seen:
                        if member.file_size > LARGEST_IMAGE:
                            raise UsageError(
                                f"{path}: {name} has {member.file_size} bytes; an image may have at most "
                                f"{LARGEST_IMAGE}"
                            )
                        seen.add(inside)
                        yield str(Path(inside).parent), archive.read(member)
        except (OSError, zipfile.BadZipFile, EOFError, RuntimeError) as error:
            raise UsageError(f"{path} cannot be read ({error}): download it again") from error


def from_folder(place: Path) -> Iterator[Named]:
    """Yield the images below a folder; the class of an image is its folder.

    Raises:
        UsageError: if the folder does not exist, or contains an image outside of the folders of classes.
    """
    if not place.is_dir():
        raise UsageError(f"{place} is not a folder: give one with a folder of images for each class")
    for path in sorted(place.rglob("*")):
        if path.suffix.lower() in KINDS and path.is_file():
            label = str(path.parent.relative_to(place))
            if label == ".":
                raise UsageError(
                    f"{path} is not in the folder of a class: move it to {place}/<class>/{path.name}"
                )
            yield label, read_bytes(path, LARGEST_IMAGE)


def from_npz(path: Path, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Return the arrays of a file written by ``numpy.savez``, one for each class, uint8 ``[D, H, W, C]``.

    Args:
        path: the file.
        shape: the shape of an image.

    Raises:
        UsageError: if the file does not exist, is not of this kind, or contains an image of another shape.
    """
    try:
        found = arrays.read(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} cannot be read ({error}): write it by numpy.savez, with an array for each class"
        ) from error
    for label, images in found.items():
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise UsageError(
                f"{path}: {label} is {images.dtype} {images.shape}, but has to be uint8 images "
                f"[D, {', '.join(map(str, shape))}]: set task.size and task.channels to those of the images"
            )
    return {label: found[label] for label in sorted(found)}


def classes_of(path: Path) -> list[str]:
    """Return the classes that a split file names: the column ``label`` of a CSV, such as mini-ImageNet's.

    Raises:
        UsageError: if the file cannot be read, or has no such column.
    """
    try:
        heading, *rows = csv.reader(io.StringIO(read_bytes(path, LARGEST_IMAGE).decode()))
        column = heading.index("label")
        return sorted({row[column] for row in rows if row})
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise UsageError(
            f"{path} cannot be read as a list of classes ({error!r}): it has to be a CSV with the columns "
            "filename and label, or give the names of the classes in a list"
        ) from error


def decoded(
    images: Iterable[Named], size: int, channels: int, invert: bool, what: str
) -> dict[str, np.ndarray]:
    """Return the images of each class, uint8 ``[D, size, size, channels]``, classes by their names.

    Args:
        images: the files of each class.
        size: the side of the images in pixels, to which they are resized by Lanczos' filter.
        channels: 1 for greyscale, 3 for colour.
        invert: whether to invert the images, so that black ink becomes 255.
        what: the name of the data set in messages.

    Raises:
        UsageError: if there is no image, one cannot be read, or they take more than 16 GiB.
    """
    found: dict[str, list[np.ndarray]] = {}
    total = 0
    for label, content in images:
        try:
            with Image.open(io.BytesIO(content)) as opened:
                image = opened.convert("L" if channels == 1 else "RGB")
        except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise UsageError(f"{what}: an image of class {label} cannot be read: {error}") from error
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.LANCZOS)
        array = np.asarray(image).reshape(size, size, channels)
        found.setdefault(label, []).append(255 - array if invert else array)
        total += array.nbytes
        if total > LARGEST:
            raise UsageError(
                f"{what} takes more than {LARGEST >> 30} GiB: take fewer classes or a smaller size"
            )
    if not found:
        raise UsageError(f"{what} holds no images ({', '.join(KINDS)})")
    return {label: np.stack(found[label]) for label in sorted(found)}
