"""The image sets that configurations name: ``_target_: experiments.data.omniglot``."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import PIL
from rich.progress import track

import metalearn as ml

from ..harness.console import console
from ..harness.errors import UsageError
from ..harness.runs import arrays
from ..harness.runs.files import users_cache, write_atomically
from . import drawing, reading

Split = Sequence[int] | Mapping[str, Sequence[str] | str] | None

OMNIGLOT = "images_background*.zip"

WHERE = (
    "It is published at github.com/brendenlake/omniglot, in the folder python: put images_background.zip and "
    "images_evaluation.zip, or the small background sets, into {place}, or name another folder: "
    "task.path=<folder>"
)

LISTS = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
"""The published lists of mini-ImageNet's images by part."""

MINI_SIZE = 84
"""The side of mini-ImageNet's images in pixels."""

MINI = (
    "Its lists train.csv, val.csv and test.csv are published at "
    "github.com/twitter-archive/meta-learning-lstm in data/miniImagenet and name images of ImageNet (ILSVRC "
    "2012): put the lists into {place} and the images into {place}/images, or name another folder: "
    "task.path=<folder>"
)


def glyphs(
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    rotations: bool = True,
    reflections: bool = False,
    distortion: float = 0.0,
    split: Split = None,
    seed: int = 0,
) -> ml.tasks.Source:
    """Return tasks of letters in the fonts that matplotlib ships, see :mod:`experiments.data.drawing`.

    They are drawn once, within a minute, and kept in the user's cache (``XDG_CACHE_HOME``).

    Args:
        ways, shots, queries, rotations, reflections, distortion: see :func:`metalearn.tasks.FewShot`.
        split: the numbers of letters for training, validation and test.
        seed: the seed of the drawings.
    """
    return _few_shot(_glyphs(seed), split, ways, shots, queries, rotations, reflections, distortion)


def omniglot(
    path: str = "data/omniglot",
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    rotations: bool = True,
    reflections: bool = False,
    distortion: float = 0.0,
    split: Split = None,
) -> ml.tasks.Source:
    """Return tasks of handwritten characters: Omniglot, 28 x 28, white ink, 20 drawings of each character.

    Args:
        path: the folder with the published zip files.
        ways, shots, queries, rotations, reflections, distortion: see :func:`metalearn.tasks.FewShot`.
        split: the numbers of characters for training, validation and test.

    Reference: Lake, Salakhutdinov and Tenenbaum (2015), "Human-level concept learning".
    """
    return _few_shot(_omniglot(path), split, ways, shots, queries, rotations, reflections, distortion)


def mini_imagenet(
    path: str = "data/mini_imagenet",
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    rotations: bool = False,
    reflections: bool = False,
    distortion: float = 0.0,
) -> ml.tasks.Source:
    """Return tasks of mini-ImageNet, 84 x 84 colour images, in the published split of its 100 classes.

    Args:
        path: the folder with the published lists ``train.csv``, ``val.csv`` and ``test.csv``, and ``images/``
            with the files that they name, which are resized.
        ways, shots, queries, rotations, reflections, distortion: see :func:`metalearn.tasks.FewShot`.

    Reference: Vinyals et al. (2016), "Matching Networks for One Shot Learning"; Ravi and Larochelle (2017),
    "Optimization as a Model for Few-Shot Learning", for the split.
    """
    classes, split = _mini_imagenet(path)
    return _few_shot(classes, split, ways, shots, queries, rotations, reflections, distortion)


def folder(
    path: str,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    rotations: bool = False,
    reflections: bool = False,
    distortion: float = 0.0,
    split: Split = None,
    size: int = 84,
    channels: int = 3,
) -> ml.tasks.Source:
    """Return tasks of the user's images: a folder with a folder of images for each class, or an ``.npz``.

    Args:
        path: the folder; or a file written by ``numpy.savez``, uint8 ``[D, size, size, channels]`` for each
            class.
        ways, shots, queries, rotations, reflections, distortion: see :func:`metalearn.tasks.FewShot`.
        split: numbers of classes for training, validation and test; or for each of them the names of its
            classes, or a CSV file with a column ``label`` that names them.
        size: the side of an image in pixels, to which images of a folder are resized.
        channels: 1 for greyscale, 3 for colour; transparent pixels of a folder's images become white.
    """
    if channels not in (1, 3):
        raise UsageError(f"channels={channels} must be 1 for greyscale or 3 for colour images")
    classes = _folder(str(Path(path).resolve()), size, channels)
    return _few_shot(classes, split, ways, shots, queries, rotations, reflections, distortion)


def _few_shot(
    classes: dict[str, np.ndarray],
    split: Split,
    ways: int,
    shots: int,
    queries: int,
    rotations: bool,
    reflections: bool,
    distortion: float,
) -> ml.tasks.Source:
    for name, images in classes.items():
        if len(images) < shots + queries:
            raise ValueError(  # the caller adds whether these are the tasks of training or of the evaluation
                f"class {name} has {len(images)} image{'s' * (len(images) != 1)}, but a task needs {shots} "
                f"shots + {queries} queries: lower shots or queries, or remove the class"
            )
    chosen: Any = split
    if isinstance(split, Mapping):
        numbers = {name: number for number, name in enumerate(classes)}
        chosen, placed = {}, dict[str, str]()
        for part, given in split.items():
            names = _labels(reading.columns(Path(given), "label")) if isinstance(given, str) else given
            unknown = [name for name in names if name not in numbers]
            if unknown:
                some = ", ".join([*list(numbers)[:5], *["..."] * (len(numbers) > 5)])
                raise UsageError(
                    f"task.split: {part} ({given if isinstance(given, str) else 'a list'}) names the class "
                    f"{unknown[0]}, which the data set lacks: remove it, or name some of {some}"
                )
            for name in names:
                if name in placed:
                    raise UsageError(
                        f"task.split: the class {name} is in {placed[name]} and in {part}: name it once"
                    )
                placed[name] = part
            chosen[part] = [numbers[name] for name in names]
    return ml.tasks.FewShot(
        list(classes.values()),
        *(ways, shots, queries),
        rotations=rotations,
        reflections=reflections,
        distortion=distortion,
        split=chosen,
    )


@functools.lru_cache(maxsize=2)
def _glyphs(seed: int) -> dict[str, np.ndarray]:
    made_of = (
        matplotlib.__version__,
        PIL.__version__,
        seed,
        Path(drawing.__file__).read_text(encoding="utf-8"),
    )
    digest = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    try:
        path = users_cache() / f"glyphs-{digest}.npz"
        stored = arrays.read(path)
        return dict(zip(stored["letters"].tolist(), stored["images"], strict=True))
    except (*reading.DAMAGED, KeyError, UsageError):  # not there, damaged
        images, letters = drawing.draw(seed)
    try:
        path = users_cache() / f"glyphs-{digest}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: np.savez(file, images=images, letters=np.array(letters)))
    except OSError:  # a cache that cannot be written to costs time, and nothing else
        pass
    return dict(zip(letters, images, strict=True))


@functools.lru_cache(maxsize=2)
def _omniglot(path: str) -> dict[str, np.ndarray]:
    place = Path(path)
    files = sorted((*place.glob(OMNIGLOT), *place.glob("images_evaluation.zip")))
    if not files:
        raise UsageError(f"Omniglot is not in {place}. {WHERE.format(place=place)}")
    return reading.decoded(reading.from_zips(files), drawing.SIZE, 1, True, "Omniglot")


@functools.lru_cache(maxsize=2)
def _mini_imagenet(path: str) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Return the images of each class, and the classes of each part."""
    place = Path(path)
    for name in (*LISTS.values(), "images"):
        if not (place / name).exists():
            raise UsageError(f"{place / name} does not exist. {MINI.format(place=place)}")
    rows = {part: reading.columns(place / name, "filename", "label") for part, name in LISTS.items()}
    every = [row for part in rows.values() for row in part]
    images = reading.from_lists(place / "images", every)
    shown = track(images, "reading images", len(every), console=console, disable=not console.is_terminal)
    classes = reading.decoded(shown, MINI_SIZE, 3, False, path)
    return classes, {part: _labels(listed) for part, listed in rows.items()}


def _labels(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the classes in the last column, each once."""
    return sorted({row[-1] for row in rows})


@functools.lru_cache(maxsize=2)
def _folder(path: str, size: int, channels: int) -> dict[str, np.ndarray]:
    if path.endswith(".npz"):
        return reading.from_npz(Path(path), (size, size, channels))
    return reading.decoded(reading.from_folder(Path(path)), size, channels, False, path)
