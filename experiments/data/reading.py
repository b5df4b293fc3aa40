"""Images as arrays, from zip, ``.npz`` and image files, whose sizes are checked before they are read."""

from __future__ import annotations

import csv
import io
import lzma
import os
import zipfile
import zlib
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

DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""Errors of reading zip files that are damaged, encrypted or compressed in ways that Python lacks."""

HIDDEN = (".", "__MACOSX")
"""The beginnings of the names of files and folders that operating systems add, which are not read."""

LEVELS = 4
"""Of the path of an image in a zip file: set, alphabet, character, drawing."""

Named = tuple[str, str, bytes]
"""The class of an image, the name of its file for messages, and its content."""


def from_zips(paths: Iterable[Path]) -> Iterator[Named]:
    """Yield the images of zip files, each once; the class of an image is the path of its folder.

    Raises:
        UsageError: if a file is not a zip file, is damaged, or contains an image that is too large or not in
            ``<set>/<alphabet>/<character>/``, where characters of several alphabets would be one class.
    """
    seen: set[str] = set()
    for path in paths:
        try:
            require_regular(path, LARGEST)
            with zipfile.ZipFile(path) as archive:
                for member in sorted(archive.infolist(), key=lambda member: member.filename):
                    name = member.filename
                    inside = name.partition("/")[2]  # the first folder has the name of the file
                    if _is_image(Path(name)) and inside not in seen:
                        if len(Path(name).parts) != LEVELS:
                            raise UsageError(
                                f"{path}: {name} is not <set>/<alphabet>/<character>/<drawing>, as in the "
                                "published file: download it again"
                            )
                        if member.file_size > LARGEST_IMAGE:
                            raise UsageError(
                                f"{path}: {name} has {member.file_size} bytes; an image may have at most "
                                f"{LARGEST_IMAGE}"
                            )
                        seen.add(inside)
                        yield str(Path(inside).parent), f"{path}: {name}", archive.read(member)
        except DAMAGED as error:
            raise UsageError(f"{path} cannot be read ({error}): download it again") from error


def from_folder(place: Path) -> Iterator[Named]:
    """Yield the images below a folder; the class of an image is its folder.

    Raises:
        UsageError: if the folder does not exist, cannot be read, or contains an image outside of the folders
            of classes.
    """
    if not place.is_dir():
        raise UsageError(
            f"task.path={place} is not a folder: give one with a folder of images for each class, "
            "<class>/<image>.png or .jpg, or an .npz file with an array for each class"
        )
    for path in sorted(_files(place)):
        if _is_image(path.relative_to(place)) and path.is_file():
            label = str(path.parent.relative_to(place))
            if label == ".":
                raise UsageError(
                    f"{path} is not in the folder of a class: move it to {place}/<class>/{path.name}"
                )
            yield label, str(path), read_bytes(path, LARGEST_IMAGE)


def _files(place: Path) -> Iterator[Path]:
    """Yield the files below a folder, also through links to folders, those of each folder once."""

    def fail(error: OSError) -> None:
        raise UsageError(f"{error.filename} cannot be read ({error.strerror}): allow it, or remove it")

    seen: set[str] = set()
    for folder, folders, names in os.walk(place, onerror=fail, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(folder, name) for name in names)


def _is_image(path: Path) -> bool:
    """Return whether a path within a set has the ending of an image and is not hidden."""
    return path.suffix.lower() in KINDS and not any(part.startswith(HIDDEN) for part in path.parts)


def from_npz(path: Path, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Return the arrays of a file written by ``numpy.savez``, one for each class, uint8 ``[D, H, W, C]``.

    Args:
        path: the file.
        shape: the shape of an image.

    Raises:
        UsageError: if the file does not exist, is not of this kind or empty, or contains images of another
            type or shape.
    """
    try:
        found = arrays.read(path)
    except DAMAGED as error:
        raise UsageError(
            f"{path} cannot be read ({error}): write it by numpy.savez, with an array for each class"
        ) from error
    if not found:
        raise UsageError(f"{path} holds no arrays: write it by numpy.savez, with an array for each class")
    for label, images in found.items():
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            remedy = "set task.size and task.channels to those of the images"
            if images.dtype != np.uint8:
                remedy = "store integers from 0 to 255 as uint8"
            elif images.ndim != len(shape) + 1:
                remedy = "store an array with an axis of channels for each class"
            raise UsageError(
                f"{path}: {label} is {images.dtype} {images.shape}, but has to be uint8 images "
                f"[D, {', '.join(map(str, shape))}]: {remedy}"
            )
    return {label: found[label] for label in sorted(found)}


def columns(path: Path, *names: str) -> list[tuple[str, ...]]:
    """Return the named columns of a split file, a CSV such as mini-ImageNet's, row by row.

    Raises:
        UsageError: if the file cannot be read, or lacks one of the columns.
    """
    try:
        heading, *rows = csv.reader(io.StringIO(read_bytes(path, LARGEST_IMAGE).decode()))
        places = [heading.index(name) for name in names]
        return [tuple(row[place] for place in places) for row in rows if row]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise UsageError(
            f"{path} cannot be read as a list of classes ({error!r}): it has to be a CSV with the columns "
            "filename and label, or give the names of the classes in a list"
        ) from error


def from_lists(place: Path, rows: Iterable[tuple[str, ...]]) -> Iterator[Named]:
    """Yield the images that split files list by name and class; all of them are in one folder.

    Raises:
        UsageError: if a file does not exist, cannot be read, or is not in the folder.
    """
    for name, label in rows:
        path = place / name
        if Path(name).name != name or not path.is_file():
            raise UsageError(f"{path} does not exist, but is listed as an image of class {label}")
        yield label, str(path), read_bytes(path, LARGEST_IMAGE)


def decoded(
    images: Iterable[Named], size: int, channels: int, invert: bool, what: str
) -> dict[str, np.ndarray]:
    """Return the images of each class, uint8 ``[D, size, size, channels]``, classes by their names.

    Args:
        images: the files of each class.
        size: the side of the images in pixels, to which they are resized by Lanczos' filter.
        channels: 1 for greyscale, 3 for colour; transparent pixels become white.
        invert: whether to invert the images, so that black ink becomes 255.
        what: the name of the data set in messages.

    Raises:
        UsageError: if there is no image, one cannot be read, or they take more than 16 GiB.
    """
    found: dict[str, list[np.ndarray]] = {}
    total = 0
    for label, name, content in images:
        try:
            with Image.open(io.BytesIO(content)) as opened:
                image = _opaque(opened).convert("L" if channels == 1 else "RGB")
        except Exception as error:  # Pillow raises errors of many types for damaged files
            reason = "it is no image" if isinstance(error, UnidentifiedImageError) else error
            raise UsageError(
                f"{what}: an image of class {label} cannot be read ({reason}): replace {name}, or remove it"
            ) from error
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


def _opaque(image: Image.Image) -> Image.Image:
    """Return an image on white, with greys of 16 bits as 8 bits: Pillow would clip them, and drop the alpha.

    Raises:
        ValueError: if pixels have 32 bits, whose range is unknown.
    """
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, and 8 or 16 are possible")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    coloured = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
