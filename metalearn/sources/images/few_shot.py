"""Few-shot classification of images: tasks of randomly selected classes and images."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from metalearn.checks import require_count, require_positive
from metalearn.random import by_task, split_seed
from metalearn.sources.distinct import draw_distinct
from metalearn.sources.images.transforms import distorted, formed, forms
from metalearn.sources.leaves import digest_of, fingerprint, joined
from metalearn.types import Batch, Seed, Task

FRACTIONS = (0.62, 0.785)
"""The fractions at which validation and test classes start: 150, 40 and 52 of 242 classes."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Episodes:
    """Few-shot tasks from classes of images. Use :func:`FewShot` to create it.

    Attributes:
        images: the concatenated images of all classes in a variable, uint8 ``[sum D, H, W, C]``.
        sizes: the number of images of each class.
        classes: the classes that tasks are drawn from.
        ways: the number of classes of a task.
        shots: the number of support images of a class.
        queries: the number of query images of a class.
        rotations: whether the quarter turns of a class are additional classes.
        reflections: whether the mirror images of a class are additional classes.
        distortion: the standard deviation of random affine maps of the images, 0 for none.
        parts: the classes of each part, by its name.
    """

    images: tf.Variable
    sizes: tuple[int, ...]
    classes: tuple[int, ...]
    ways: int
    shots: int
    queries: int
    rotations: bool
    reflections: bool
    distortion: float
    parts: dict[str, tuple[int, ...]]

    divisible = True

    def sample(self, seed: Seed, tasks: int) -> Task:
        """Draw tasks as a pure function of the seed, eagerly or in a graph.

        Args:
            seed: two integers.
            tasks: T, at least 1.

        Returns:
            A task with inputs ``[T, N, H, W, C]`` from 0 to 1, in float32, where N is ways shots in the
            support and ways queries in the query; targets int32 ``[T, N]`` from 0 to ``ways - 1``, in the
            order of classes; and the numbers of the classes in ``info``, ``[T, ways]``.

        Raises:
            ValueError: if ``tasks`` is not a positive integer.
        """
        chosen, drawn, rows = by_task(lambda count: self._rows(seed, count), tasks)
        images = tf.gather(self.images, rows)  # uint8 [T, ways, examples, H, W, C]
        if self.distortion:
            maps = tf.gather(self._forms, drawn)[:, :, None]
            images = distorted(images, maps, split_seed(seed, 3)[2], self.distortion)
        elif len(self._forms) > 1:
            images = formed(images, self._forms, drawn)
        images = tf.cast(images, tf.float32) / 255.0
        labels = tf.tile(tf.range(self.ways)[None, :, None], [tasks, 1, self.shots + self.queries])

        def batch(part: slice) -> Batch:
            shape = [tasks, -1, *self.images.shape[1:]]
            return Batch(tf.reshape(images[:, :, part], shape), tf.reshape(labels[:, :, part], [tasks, -1]))

        return Task(batch(slice(self.shots)), batch(slice(self.shots, None)), info=chosen)

    def split(self, part: str) -> Episodes:
        """Return the source of a part's classes; turns, mirror images and distortions are for training only.

        Args:
            part: ``"train"``, ``"validation"`` or ``"test"``.

        Raises:
            ValueError: if there is no such part, or it has fewer classes than a task needs.
        """
        if part not in self.parts:
            raise ValueError(f"there is no part {part!r}: use one of {', '.join(self.parts)}")
        trained = part == "train"
        chosen = dataclasses.replace(
            self,
            classes=self.parts[part],
            rotations=self.rotations and trained,
            reflections=self.reflections and trained,
            distortion=self.distortion if trained else 0.0,
        )
        _require_ways(self.ways, len(chosen.classes) * len(chosen._forms), f"the part {part}")
        return chosen

    def fingerprint(self, seed: Seed, tasks: int) -> bytes:
        """Return a digest of the images, which is computed once, and of the image indices of the tasks."""
        distortion = [tf.constant(self.distortion)] * bool(self.distortion)
        return fingerprint(self._digest, (self._rows(seed, tasks), distortion))

    @functools.cached_property
    def _digest(self) -> hashlib._Hash:
        return digest_of(self.images)

    @property
    def _forms(self) -> np.ndarray:
        """The maps of the classes from one class of images: its turns, and their mirror images."""
        return forms(self.rotations, self.reflections)

    def _rows(self, seed: Seed, tasks: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Draw classes and forms, ``[T, ways]``, and the indices of images, ``[T, ways, examples]``."""
        require_count("tasks", tasks)
        of_classes, of_images = split_seed(seed, 2)
        count, examples = len(self.classes), self.shots + self.queries
        known = tf.fill([tasks], count * len(self._forms))
        drawn = draw_distinct(known, self.ways, of_classes)
        chosen = tf.gather(tf.constant(self.classes, tf.int32), drawn % count)
        sizes = tf.gather(tf.constant(self.sizes, tf.int32), tf.reshape(chosen, [-1]))
        which = tf.reshape(draw_distinct(sizes, examples, of_images), [tasks, self.ways, examples])
        first = tf.constant(np.cumsum([0, *self.sizes[:-1]]), tf.int32)
        return chosen, drawn // count, tf.gather(first, chosen)[:, :, None] + which

    def __repr__(self) -> str:
        size = "x".join(map(str, self.images.shape[1:]))
        return (
            f"<{len(self.classes)} classes of {size} images, {self.ways} ways, {self.shots} shots, "
            f"{self.queries} queries{', rotations' * self.rotations}{', reflections' * self.reflections}"
            f"{f', distortion {self.distortion}' * bool(self.distortion)}>"
        )


def FewShot(  # noqa: N802 - capitalised like the other sources
    images: np.ndarray | Sequence[np.ndarray],
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    *,
    rotations: bool = False,
    reflections: bool = False,
    distortion: float = 0.0,
    split: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    split_seed: int = 0,
) -> Episodes:
    """Return a source of few-shot classification tasks from classes of images.

    ::

        tasks = ml.tasks.FewShot(images, ways=5, shots=1, queries=15, rotations=True, split=(150, 40, 52))
        trainer = ml.MetaTrainer(learner, tasks.split("train"), ...)
        report = ml.evaluate(learner, trainer.meta, tasks.split("test"), num_tasks=600)

    A task draws ``ways`` different classes with random labels 0, 1, ..., and ``shots + queries`` different
    images of each. A model needs at least ``ways`` outputs. Additional outputs are allowed, for example to
    train with more ways than in the test: they belong to classes without examples, the softmax is over all
    outputs, and predicting such a class is an error.

    Args:
        images: uint8; ``[classes, D, H, W, C]``, or a list of ``[D, H, W, C]`` for classes of different
            sizes.
        ways: the number of classes of a task, at least 2.
        shots: the number of support images of a class, at least 1.
        queries: the number of query images of a class, at least 1.
        rotations: whether rotations of a class by 90, 180 and 270 degrees are additional classes (Santoro
            et al. 2016); after a split in ``split("train")`` only.
        reflections: whether the mirror images of a class and of its rotations are additional classes; after a
            split in ``split("train")`` only.
        distortion: the standard deviation of the random affine maps of images, see
            :mod:`metalearn.sources.images.transforms`; after a split in ``split("train")`` only.
        split: the numbers of classes for training, validation and test; or the classes of each by name; by
            default 62, 16.5 and 21.5 % of them. The parts are disjoint.
        split_seed: the seed of the split, which uses the order of the SHA-256 of seed and class.

    Raises:
        TypeError: if ``images`` is not iterable.
        ValueError: if types or shapes are wrong, there are fewer classes than a task or the parts need, or a
            class has fewer images than a task needs.

    Reference: Vinyals et al. (2016), "Matching Networks for One Shot Learning", section 4.
    """
    for name, count, least in (("ways", ways, 2), ("shots", shots, 1), ("queries", queries, 1)):
        require_count(name, count, minimum=least)
    if distortion != 0:
        require_positive("distortion (0 for none)", distortion)
    arrays = _arrays(images, shots, queries, rotations, distortion)
    parts = _parts(split, len(arrays), split_seed)
    sizes, classes = tuple(map(len, arrays)), tuple(range(len(arrays)))
    changes = rotations, reflections, float(distortion)
    whole = Episodes(joined(arrays), sizes, classes, ways, shots, queries, *changes, parts)
    _require_ways(ways, len(arrays) * len(whole._forms), "this set")
    return whole


def _arrays(
    images: np.ndarray | Sequence[np.ndarray], shots: int, queries: int, rotations: bool, distortion: float
) -> list[np.ndarray]:
    """Return the images of each class; raise TypeError or ValueError for the first invalid one."""
    try:
        arrays = [np.asarray(each) for each in images]
    except TypeError as error:
        raise TypeError(
            f"images must be an array [classes, D, H, W, C], or a list of [D, H, W, C], got {images!r}: "
            "give the images of each class"
        ) from error
    if not arrays:
        raise ValueError("there are no images: give an array [classes, D, H, W, C]")
    for number, each in enumerate(arrays):
        if each.dtype != np.uint8 or each.ndim != 4:
            raise ValueError(
                f"class {number} has {each.dtype} of shape {each.shape}: images have to be uint8 "
                "[D, H, W, C], 0 to 255, C = 1 for greyscale"
            )
        if each.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"class {number} has images of shape {each.shape[1:]}, class 0 of {arrays[0].shape[1:]}: "
                "resize them to one size"
            )
        if len(each) < shots + queries:
            raise ValueError(
                f"class {number} has {len(each)} image{'s' * (len(each) != 1)}, but a task needs {shots} "
                f"shots + {queries} queries = {shots + queries} different ones: lower them, or remove the "
                "class"
            )
    if rotations and arrays[0].shape[1] != arrays[0].shape[2]:
        raise ValueError(
            f"rotated images have to be square, these are {arrays[0].shape[1:3]}: use rotations=False"
        )
    if distortion and min(arrays[0].shape[1:3]) < 2:
        raise ValueError(
            f"distorted images need at least 2 x 2 pixels, these are {arrays[0].shape[1:3]}: use distortion=0"
        )
    return arrays


def _require_ways(ways: int, classes: int, what: str) -> None:
    if ways > classes:
        raise ValueError(f"ways={ways} are more than the {classes} classes of {what}: lower them")


def _parts(
    split: Sequence[int] | Mapping[str, Sequence[int]] | None, classes: int, seed: int
) -> dict[str, tuple[int, ...]]:
    """Return the classes of each part."""
    names = ("train", "validation", "test")
    if split is None:
        ends = [round(classes * fraction) for fraction in (0, *FRACTIONS, 1)]
        split = [end - start for start, end in itertools.pairwise(ends)]
    if isinstance(split, Mapping):
        parts = {name: tuple(int(each) for each in split[name]) for name in split}
        chosen = [each for part in parts.values() for each in part]
        unknown = [each for each in chosen if not 0 <= each < classes]
        twice = [each for each in chosen if chosen.count(each) > 1]
        if set(parts) != set(names) or unknown or twice:
            found = [f", and the class {each}" for each in unknown]
            found += [f", and the class {each} twice" for each in twice]
            raise ValueError(
                f"split needs train, validation and test with disjoint classes from 0 to {classes - 1}; "
                f"it has {', '.join(parts)}{''.join(found[:1])}"
            )
        return parts
    counts = [int(each) for each in split]
    whole = all(count == each for count, each in zip(counts, split, strict=True))
    if len(counts) != len(names) or not whole or min(counts) < 0 or sum(counts) > classes:
        raise ValueError(
            f"split={tuple(split)} has to be the numbers of classes for {', '.join(names)}, at most "
            f"{classes} in total"
        )
    order = sorted(range(classes), key=lambda each: hashlib.sha256(f"{seed} {each}".encode()).digest())
    starts = np.cumsum([0, *counts])
    return {
        name: tuple(order[start:end])
        for name, (start, end) in zip(names, itertools.pairwise(starts), strict=True)
    }
