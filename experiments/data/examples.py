"""Data sets of examples with one target each: scikit-learn's digits, ``.npz`` files, and linear models."""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..harness.errors import UsageError
from ..harness.runs import arrays
from .parts import ASKED, Arrays, Parts, in_parts

DIGITS = "digits"
"""The value of ``path`` that stands for scikit-learn's images."""

LABELS = ("noisy", "clean", "oracle")

NAMES = ("inputs", "targets")


def examples(
    path: str = DIGITS,
    sizes: Sequence[int] = (1000, 297, 100, 400),
    corruption: float = 0.0,
    labels: str = "noisy",
    batch: int | None = None,
    seed: int = 0,
) -> Parts:
    """Return one data set, in which some labels may be replaced by wrong ones.

    Args:
        path: ``digits`` for the 1797 images of 8 x 8 pixels in scikit-learn, as 64 numbers from 0 to 1; or an
            ``.npz`` file written by ``numpy.savez(path, inputs=[N, ...], targets=[N])``.
        sizes: the numbers of examples for the inner loss, the outer loss, validation and test.
        corruption: the fraction of the inner examples whose label is replaced by another class, drawn
            uniformly; below 1.
        labels: ``noisy``: with the wrong labels, which ``Task.info`` marks, together with such labels for the
            query; ``clean``: as without corruption; ``oracle``: only the examples with correct labels,
            repeated to the same number.
        batch: the number of examples of the outer loss in an iteration; None for all.
        seed: the seed of the order and of the wrong labels.
    """
    inner, asked = in_parts(read(path), sizes, seed)
    if not corruption:
        return Parts(inner, asked, {}, batch)
    inputs, true = inner
    if not 0 <= corruption < 1:
        raise UsageError(
            f"task.corruption={corruption:g} must be at least 0 and below 1: some labels have to be correct"
        )
    if labels not in LABELS:
        raise UsageError(f"task.labels={labels} must be one of {', '.join(LABELS)}")
    if true.dtype.kind not in "iu":
        raise UsageError(
            f"task.corruption={corruption:g}: the targets of {path} are {true.dtype}, not classes"
        )
    wrong, noisy = corrupted(true, corruption, seed)
    if labels == "oracle":
        rows = np.resize(np.flatnonzero(~wrong), len(true))
        return Parts((inputs[rows], true[rows]), asked, {}, batch)
    if labels == "clean":
        return Parts(inner, asked, {}, batch)
    info = {}
    for part, (_, right) in asked.items():
        asked_wrong, asked_labels = corrupted(right, corruption, seed, ASKED[part])
        info[part] = {"wrong": wrong, "asked_wrong": asked_wrong, "asked_labels": asked_labels}
    return Parts((inputs, noisy), asked, info, batch)


def one_of_each_class(path: str = DIGITS, sizes: Sequence[int] = (0, 1200, 97, 500), seed: int = 0) -> Arrays:
    """Return the first example of each class among those of the outer loss: inputs and classes ``[C]``."""
    inputs, classes = in_parts(read(path), sizes, seed)[1]["train"]
    found, rows = np.unique(classes, return_index=True)
    return inputs[rows], found


def inner_examples(path: str = DIGITS, sizes: Sequence[int] = (1000, 297, 100, 400), seed: int = 0) -> Arrays:
    """Return the examples of the inner loss: inputs and targets ``[N]``."""
    return in_parts(read(path), sizes, seed)[0]


def linear(
    sizes: Sequence[int] = (500, 500, 500, 500),
    features: int = 20,
    relevant: int | None = None,
    noise: float = 0.1,
    classes: bool = False,
    seed: int = 0,
) -> Parts:
    """Return Gaussian inputs with targets ``w x + noise``, or the classes ``w x + noise > 0``.

    Args:
        sizes: the numbers of examples for the inner loss, the outer loss, validation and test.
        features: D, the size of an input.
        relevant: the number of features that the targets depend on: w is standard normal there and 0
            elsewhere; None for all.
        noise: the standard deviation of the Gaussian noise.
        classes: whether targets are the classes 0 and 1.
        seed: the seed of all random numbers.
    """
    if relevant is not None and relevant > features:
        raise UsageError(f"task.relevant={relevant} is more than task.features={features}: lower it")
    random, count = np.random.default_rng(seed), sum(sizes)
    inputs, weights = random.normal(size=(count, features)), random.normal(size=features)
    weights[features if relevant is None else relevant :] = 0
    targets = inputs @ weights + noise * random.normal(size=count)
    chosen = (targets > 0).astype(np.int32) if classes else targets
    return Parts(*in_parts((inputs, chosen), sizes, seed), {})


def corrupted(classes: np.ndarray, rate: float, seed: int, stream: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask ``[N]`` of the classes that are replaced by wrong ones, and the resulting classes."""
    random, count = np.random.default_rng([seed, 1 + stream]), len(classes)
    wrong = np.zeros(count, bool)
    wrong[random.permutation(count)[: round(rate * count)]] = True
    known = np.unique(classes)
    moved = (np.searchsorted(known, classes) + random.integers(1, max(len(known), 2), count)) % len(known)
    return wrong, np.where(wrong, known[moved], classes)


def read(path: str) -> Arrays:
    """Return inputs ``[N, ...]`` and targets ``[N]``: integers, or numbers.

    Raises:
        UsageError: naming what is missing or invalid, and the remedy.
    """
    return _digits() if path == DIGITS else _from_file(Path(path))


@functools.lru_cache(maxsize=1)
def _digits() -> Arrays:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UsageError(
            "task.path=digits is read from scikit-learn, which is not installed: pip install "
            "'scikit-learn>=1.5', or install metalearn-tf[data]; or give an .npz file of your own"
        ) from error
    images, classes = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32), classes.astype(np.int32)


def _from_file(path: Path) -> Arrays:
    made = f"make it by numpy.savez({str(path)!r}, inputs=inputs, targets=targets)"
    try:
        found = arrays.read(path)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: {made}, or use task.path=digits") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read as arrays ({error}): {made}") from error
    missing = [name for name in NAMES if name not in found]
    if missing:
        raise UsageError(f"{path} has no array {missing[0]}, it has {', '.join(found) or 'none'}: {made}")
    inputs, targets = (found[name] for name in NAMES)
    if inputs.ndim < 2 or targets.ndim != 1 or len(inputs) != len(targets):
        raise UsageError(
            f"{path} has inputs {inputs.shape} and targets {targets.shape}, which have to be [N, ...] and [N]"
        )
    for name, leaf in zip(NAMES, (inputs, targets), strict=True):
        if leaf.dtype.kind not in "fiu":
            raise UsageError(f"{path}: {name} are {leaf.dtype}, and have to be numbers")
        if not np.isfinite(leaf).all():
            raise UsageError(f"{path}: {name} have NaN or infinity: leave such examples out")
    return inputs.astype(np.float32), targets.astype(np.int32 if targets.dtype.kind in "iu" else np.float32)
