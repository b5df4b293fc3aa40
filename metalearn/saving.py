"""Saving and loading meta-parameters: as arrays with the names of their leaves, or as a Keras model."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from metalearn.nest import matched, names
from metalearn.problems.learner import Learner
from metalearn.types import Meta

ROOT = "meta"
"""The prefix of the name of every array in an ``.npz`` file."""


def save(path: str | os.PathLike[str], meta: Meta, learner: Learner) -> None:
    """Write meta-parameters to a file, which is either written completely or not at all.

    - ``.npz``: all meta-parameters, not rounded; an array for each leaf, ``meta/parameters/dense/kernel``;
    - ``.keras``: the Keras model ``learner.to_keras(meta)``. This is only possible if the model contains all
      meta-parameters, that is, without learned hyperparameters and without moving statistics for each step.

    Args:
        path: of the file, with one of the two endings.
        meta: the meta-parameters.
        learner: the learner that they belong to; for ``.keras`` a :class:`metalearn.MetaLearner`.

    Raises:
        ValueError: naming the leaves that do not fit the learner, or that a ``.keras`` file cannot contain.
    """
    target = Path(path)
    kind = _kind(target)
    meta = matched("meta", meta, learner.initialize(0))
    partial = target.with_name(f".{target.stem}.partial{kind}")
    try:
        if kind == ".keras":
            model = _of_keras(learner).to_keras(meta)
            _of_keras(learner).from_keras(model)
            model.save(partial)
        else:
            leaves = [leaf.numpy() for leaf in tf.nest.flatten(meta)]
            np.savez(partial, allow_pickle=False, **dict(zip(_entries(meta), leaves, strict=True)))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def load(path: str | os.PathLike[str], learner: Learner) -> Meta:
    """Return the meta-parameters in a file that :func:`save` wrote, or in a Keras model that fits.

    Nothing is unpickled, so the file may come from somebody else. A ``.keras`` file is read in Keras' safe
    mode; the layer classes of the learner's own model are known to it by name.

    Args:
        path: of the file, ending in ``.npz`` or ``.keras``.
        learner: of the same model, rule and settings as the one whose meta-parameters were saved.

    Returns:
        Meta-parameters structured as those of ``learner.initialize``, for ``trainer.load``, ``adapt`` and
        ``evaluate``.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: naming the leaves that are missing, unknown or of another shape or type; or if the file
            does not have the format of its ending.
    """
    source = Path(path)
    if _kind(source) == ".keras":
        return _of_keras(learner).from_keras(_model(source, _of_keras(learner).model))
    like = learner.initialize(0)
    arrays, entries = _arrays(source), _entries(like)
    missing, unknown = sorted(set(entries) - set(arrays)), sorted(set(arrays) - set(entries))
    if missing or unknown:
        raise ValueError(
            f"{source} has other meta-parameters than the learner: missing {missing}, unknown {unknown}. "
            "Make the learner with the model, rule and settings that they were learned with"
        )
    leaves = [_typed(arrays[entry], leaf) for entry, leaf in zip(entries, tf.nest.flatten(like), strict=True)]
    return matched(str(source), tf.nest.pack_sequence_as(like, leaves), like)


def _kind(path: Path) -> str:
    if path.suffix not in (".npz", ".keras"):
        raise ValueError(f"meta-parameters are saved as .npz or .keras, but the path is {str(path)!r}")
    return path.suffix


def _entries(meta: Meta) -> list[str]:
    return [f"{ROOT}/{name}" if name else ROOT for name in names(meta)]


def _of_keras(learner: Learner) -> Any:
    if not hasattr(learner, "to_keras"):
        raise ValueError(
            f"a {type(learner).__name__} has no Keras model of its own: save and load its meta-parameters as "
            ".npz"
        )
    return learner


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a file of arrays that can be read ({error})") from error


def _typed(array: np.ndarray, like: tf.Tensor) -> tf.Tensor:
    """Return an array as a tensor; NumPy's files store bfloat16 as raw bytes of the same size."""
    dtype = np.dtype(like.dtype.as_numpy_dtype)
    is_bytes = array.dtype.kind == "V" and dtype.kind == "V" and array.dtype.itemsize == dtype.itemsize
    return tf.constant(array.view(dtype) if is_bytes else array)


def _model(path: Path, like: keras.Model) -> keras.Model:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    known = {keras.saving.get_registered_name(type(layer)): type(layer) for layer in like._flatten_layers()}
    try:
        return cast(keras.Model, keras.saving.load_model(path, custom_objects=known, compile=False))
    except (ValueError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a Keras model that can be read ({error})") from error
