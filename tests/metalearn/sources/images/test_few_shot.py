"""Few-shot classification: classes, images and labels of tasks; and errors."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml

CLASSES, DRAWINGS = 9, 5

IMAGES = np.random.default_rng(0).integers(0, 256, (CLASSES, DRAWINGS, 4, 4, 1), np.uint8)


def source(**options):
    return ml.tasks.FewShot(IMAGES, **{"ways": 3, "shots": 2, "queries": 3, **options})


def found(image):
    """Return class, drawing and form of an image that was drawn: quarter turns, 4 more if then mirrored."""
    stored = np.rint(np.asarray(image) * 255).astype(np.uint8)
    for form in range(8):
        turned = np.rot90(IMAGES, form % 4, (2, 3))
        same = ((turned[:, :, :, ::-1] if form >= 4 else turned) == stored).all((2, 3, 4))
        if same.any():
            return (*np.argwhere(same)[0], form)
    raise AssertionError("no such image")


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        ({}, {0}),
        ({"rotations": True}, {0, 1, 2, 3}),
        ({"reflections": True}, {0, 4}),
        ({"rotations": True, "reflections": True}, set(range(8))),
    ],
)
def test_a_task_has_images_of_its_classes_and_labels_in_order(forms, expected):
    """Images with one label have one class and form; classes differ, and no image occurs twice."""
    tasks = source(**forms).sample((0, 3), 12)
    assert tasks.support.inputs.shape == (12, 6, 4, 4, 1)
    assert tasks.query.inputs.shape == (12, 9, 4, 4, 1)
    np.testing.assert_array_equal(tasks.support.targets, [[0, 0, 1, 1, 2, 2]] * 12)
    np.testing.assert_array_equal(tasks.query.targets, [[0, 0, 0, 1, 1, 1, 2, 2, 2]] * 12)
    seen = set()
    for number in range(12):
        support = [found(image) for image in tasks.support.inputs[number]]
        query = [found(image) for image in tasks.query.inputs[number]]
        assert len({*support, *query}) == 15
        classes = [
            {(each[0], each[2]) for each in support[2 * w : 2 * w + 2] + query[3 * w : 3 * w + 3]}
            for w in range(3)
        ]
        assert all(len(each) == 1 for each in classes)
        assert len(set.union(*classes)) == 3
        assert [next(iter(each))[0] for each in classes] == tasks.info[number].numpy().tolist()
        seen |= {each[2] for each in support}
    assert seen == expected


def test_every_class_and_image_is_drawn_as_often():
    """Frequencies of classes and images are within 4 standard errors of uniform ones, for 4000 classes."""
    tasks = source(ways=2, shots=1, queries=1).sample((1, 1), 2000)
    classes = np.bincount(np.ravel(tasks.info), minlength=CLASSES) / 4000
    np.testing.assert_allclose(classes, 1 / CLASSES, rtol=0, atol=4 * np.sqrt(8 / 81 / 4000))
    drawings = (
        np.bincount([found(image[0])[1] for image in tasks.query.inputs[:400]], minlength=DRAWINGS) / 400
    )
    np.testing.assert_allclose(drawings, 1 / DRAWINGS, rtol=0, atol=4 * np.sqrt(0.16 / 400))


def test_the_parts_share_no_class():
    """Parts have no common class, are the same in every process, and only training is augmented."""
    whole = source(rotations=True, reflections=True, split=(4, 2, 3), ways=2)
    parts = {name: whole.split(name) for name in ("train", "validation", "test")}
    classes = [set(part.classes) for part in parts.values()]
    assert [len(each) for each in classes] == [4, 2, 3]
    assert len(set.union(*classes)) == 9
    assert [part.rotations for part in parts.values()] == [True, False, False]
    assert [part.reflections for part in parts.values()] == [True, False, False]
    distorted = source(distortion=0.1, split=(4, 2, 3), ways=2)
    assert [distorted.split(name).distortion for name in parts] == [0.1, 0, 0]
    assert not np.isin(distorted.split("train").sample((0, 0), 2).query.inputs * 255, range(256)).all()
    # By hand: sha256 of "0 <class>", sorted.
    assert parts["train"].classes == (6, 4, 2, 1)
    for part in parts.values():
        drawn = part.sample((0, 0), 20)
        assert set(np.ravel(drawn.info)) == set(part.classes)
    assert [len(part) for part in source(ways=2).parts.values()] == [6, 1, 2]
    named = source(split={"train": [0, 1, 2], "validation": [3, 4, 5], "test": [6, 7, 8]})
    assert named.split("test").classes == (6, 7, 8)


def test_classes_may_differ_in_size():
    arrays = [IMAGES[0], IMAGES[1][:3], np.concatenate([IMAGES[2], IMAGES[3]])]
    tasks = ml.tasks.FewShot(arrays, ways=3, shots=1, queries=2).sample((0, 0), 200)
    images = np.reshape(tasks.support.inputs, (200, 3, 4, 4, 1))
    of_large = {
        found(image)[:2]
        for task, classes in zip(images, tasks.info, strict=True)
        for image, c in zip(task, classes, strict=True)
        if c == 2
    }
    assert of_large == {(row, drawing) for row in (2, 3) for drawing in range(5)}


def test_conformance():
    ml.testing.check_source(source(rotations=True, split=(4, 2, 3), ways=2))


def test_the_digest_of_tasks_is_of_images_and_numbers():
    """The fingerprint depends on the images and on the seed."""
    first = source()
    other = ml.tasks.FewShot(255 - IMAGES, ways=3, shots=2, queries=3)
    distorted = source(distortion=0.1).fingerprint((0, 0), 3)
    digests = [first.fingerprint((0, 0), 3), source().fingerprint((0, 0), 3)]
    assert digests[0] == digests[1]
    assert len({digests[0], distorted, other.fingerprint((0, 0), 3), first.fingerprint((0, 1), 3)}) == 4


@pytest.mark.parametrize(
    ("images", "options", "named"),
    [
        (IMAGES, {"ways": 10}, "ways=10 are more than the 9 classes"),
        (IMAGES, {"ways": 1}, "ways"),
        (IMAGES, {"distortion": -1}, "distortion .0 for none. must be a finite number above 0, got -1"),
        (IMAGES, {"distortion": None}, "distortion .0 for none. must be a finite number above 0, got None"),
        (IMAGES[:, :, :1], {"distortion": 0.1}, "distorted images need at least 2 x 2 pixels"),
        (IMAGES, {"shots": 3}, "class 0 has 5 images, but a task needs 3 shots [+] 3 queries"),
        (IMAGES / 255, {}, "class 0 has float64"),
        (IMAGES[..., 0], {}, r"class 0 has uint8 of shape \\(5, 4, 4\\)"),
        ([IMAGES[0], IMAGES[1][:, :3]], {}, "class 1 has images of shape"),
        ([], {}, "no images"),
        (IMAGES, {"split": (5, 4, 3)}, "numbers of classes for train, validation, test"),
        (IMAGES, {"split": (0.6, 0.2, 0.2)}, "numbers of classes for train, validation, test"),
        (
            IMAGES,
            {"split": {"train": [0, 1], "val": [2], "test": [3]}},
            "split needs train, validation and test .* it has train, val, test$",
        ),
        (IMAGES, {"split": {"train": [0, 1], "validation": [1], "test": []}}, "the class 1 twice"),
        (IMAGES, {"split": {"train": [0, 9], "validation": [], "test": []}}, "the class 9"),
        (IMAGES[:, :, :3], {"rotations": True}, "rotated images .* square"),
    ],
)
def test_what_cannot_be_is_refused(images, options, named):
    with pytest.raises(ValueError, match=named.replace("\\\\", "\\")):
        ml.tasks.FewShot(images, **{"ways": 2, "shots": 2, "queries": 3, **options})


@pytest.mark.parametrize("images", [None, 5, np.array(5)])
def test_what_holds_no_images_is_refused(images):
    with pytest.raises(TypeError, match=re.escape(f"[D, H, W, C], got {images!r}: give the images")):
        ml.tasks.FewShot(images)


def linear(outputs):
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(outputs)])
    return ml.MetaLearner(model, "cross_entropy", ml.rules.sgd(0.5), metrics=("accuracy",))


@pytest.mark.parametrize("outputs", [3, 5])
def test_outputs_beyond_the_ways_are_classes_that_never_occur(outputs):
    """With more outputs than ways, loss and accuracy after a step equal NumPy's over all outputs."""
    learner, task = linear(outputs), source().sample((0, 0), 1)
    learner.require_fit(task)
    meta = learner.initialize(0)
    kernel, bias = sorted(meta["parameters"].values(), key=lambda leaf: -leaf.shape.rank)
    weights = np.concatenate([kernel, bias[None]])
    for batch in task[:2]:
        x, classes = batch.inputs.numpy().reshape(-1, 16), batch.targets.numpy()[0]
        x = np.append(x, np.ones((len(x), 1)), 1)
        logits, own = x @ weights, np.eye(outputs)[classes]
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        weights = weights - 0.5 * x.T @ (chances - own) / len(x)  # that after the query is not used
    found = learner.meta_gradient(meta, task)
    np.testing.assert_allclose(found.loss, [-np.log((chances * own).sum(1)).mean()], rtol=1e-5)
    np.testing.assert_allclose(found.metrics["accuracy"], [(logits.argmax(1) == classes).mean()])


def test_outputs_fewer_than_the_ways_are_refused():
    with pytest.raises(ValueError, match="classes from 0 to 2"):
        linear(2).require_fit(source().sample((0, 0), 1))


def test_a_part_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="there is no part 'tests': use one of train, validation, test"):
        source().split("tests")
    with pytest.raises(ValueError, match="ways=3 are more than the 2 classes of the part validation"):
        source(split=(4, 2, 3)).split("validation")


def test_a_learner_learns_from_it():
    """With classes that differ in brightness, 20 inner steps raise the accuracy by more than 0.2."""
    bright = np.clip(np.random.default_rng(1).normal(np.arange(9)[:, None] * 25 + 20, 4, (9, 12)), 0, 255)
    images = np.broadcast_to(bright[..., None, None, None], (9, 12, 2, 2, 1)).astype(np.uint8)
    tasks = ml.tasks.FewShot(images, ways=2, shots=3, queries=3)
    model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), ml.layers.Dense(2)])
    learner = ml.MetaLearner(model, ml.losses.cross_entropy, ml.rules.sgd(2.0), steps=5, metrics=["accuracy"])
    report = ml.evaluate(learner, learner.initialize(0), tasks, num_tasks=50, steps=20)
    assert report.metrics["accuracy"].mean[-1] > report.metrics["accuracy"].mean[0] + 0.2
    tf.debugging.assert_all_finite(report.mean, "losses")
