"""Image sets are read in their published form; missing or damaged ones raise an error with the remedy."""

import io
import pathlib
import zipfile

import numpy as np
import pytest
from PIL import Image

from experiments.data import drawing, folder, glyphs, omniglot, reading, sources
from experiments.harness.errors import UsageError
from tests.experiments.small_runs import run

CHARACTERS, DRAWINGS = 8, 4


def picture(value, size=(105, 105), mode="L"):
    file = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value,) * 3).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def omniglots(tmp_path):
    """A folder like Omniglot's: two zip files, which share a character."""
    for name, characters in (("images_background", range(5)), ("images_evaluation", range(4, CHARACTERS))):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for character in characters:
                for number in range(DRAWINGS):
                    path = f"{name}/Latin/character{character:02}/{character:04}_{number:02}.png"
                    archive.writestr(path, picture(255 - 20 * character - number))
    return tmp_path


def test_omniglot_is_read_as_it_is_published(omniglots):
    """Images are 28 x 28 with white ink, and each character occurs once, in the order of names."""
    tasks = omniglot(str(omniglots), ways=2, shots=1, queries=2, split=(4, 2, 2))
    assert tasks.images.shape == (CHARACTERS * DRAWINGS, 28, 28, 1)
    assert tasks.sizes == (DRAWINGS,) * CHARACTERS
    values = tasks.images.numpy()[:, 14, 14, 0].reshape(CHARACTERS, DRAWINGS)
    np.testing.assert_array_equal(values, 20 * np.arange(CHARACTERS)[:, None] + np.arange(DRAWINGS))
    assert [len(tasks.split(part).classes) for part in ("train", "validation", "test")] == [4, 2, 2]


def test_what_is_not_there_is_said_with_where_it_comes_from(tmp_path, capfd):
    arguments = [
        "experiment=omniglot/maml",
        "run.check_derivatives=false",
        f"task.path={tmp_path / 'nowhere'}",
    ]
    assert run(tmp_path, arguments) == 2
    message = capfd.readouterr().err
    assert f"Omniglot is not in {tmp_path / 'nowhere'}" in message
    assert "github.com/brendenlake/omniglot" in message
    assert "Traceback" not in message


def test_a_damaged_file_is_named(omniglots):
    path = omniglots / "images_evaluation.zip"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UsageError, match=r"images_evaluation\.zip cannot be read .*download it again"):
        omniglot(str(omniglots))
    kinds = (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
    for kind in kinds:  # bytes in the middle are damaged, and what is compressed there
        with zipfile.ZipFile(path, "w", kind) as archive:
            archive.writestr("images_evaluation/Latin/a/1.png", np.random.default_rng(0).bytes(999))
        content = bytearray(path.read_bytes())
        content[100:600] = bytes(500)
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"images_evaluation\.zip cannot be read .*download it again"):
            omniglot(str(omniglots))


@pytest.fixture
def images(tmp_path):
    """A folder of three classes with three images each, of different sizes."""
    for number, label in enumerate(("cat", "dog", "owl")):
        (tmp_path / label).mkdir()
        for image in range(3):
            path = tmp_path / label / f"{image}.png"
            path.write_bytes(picture(50 * number + image, (10 + image, 12), "RGB"))
    return tmp_path


def test_a_folder_of_images_is_a_set(images):
    split = {"train": ["dog", "owl"], "validation": [], "test": ["cat"]}
    tasks = folder(str(images), ways=2, shots=1, queries=1, split=split, size=8)
    assert tasks.images.shape == (9, 8, 8, 3)
    assert tasks.split("train").classes == (1, 2)
    grey = folder(str(images), ways=2, shots=1, queries=1, size=8, channels=1)
    np.testing.assert_array_equal(grey.images.numpy()[:, 4, 4, 0], [0, 1, 2, 50, 51, 52, 100, 101, 102])


def test_a_file_of_arrays_is_a_set_and_a_split_file_names_its_classes(tmp_path, capfd):
    """A file of arrays is read as a set, and CSV files as for mini-ImageNet name the classes of parts."""
    made = np.arange(3 * 4, dtype=np.uint8).reshape(3, 4, 1, 1, 1).repeat(6, 2).repeat(6, 3)
    np.savez(tmp_path / "set.npz", owl=made[2], cat=made[0], dog=made[1])
    split = {}
    for part, names in (("train", ["dog", "owl"]), ("validation", []), ("test", ["cat"])):
        rows = [f"{name}{number}.jpg,{name}" for name in names for number in range(4)]
        split[part] = str(tmp_path / f"{part}.csv")
        (tmp_path / f"{part}.csv").write_text("\n".join(["filename,label", *rows, ""]))
    split["test"] = str(tmp_path / "classes.csv")  # the column of classes is sufficient
    (tmp_path / "classes.csv").write_text("label\ncat\n")
    settings = {"ways": 2, "shots": 1, "queries": 1, "size": 6, "channels": 1, "split": split}
    tasks = folder(str(tmp_path / "set.npz"), **settings)
    np.testing.assert_array_equal(tasks.images.numpy()[:, 3, 3, 0], np.arange(12))
    assert (tasks.parts["train"], tasks.parts["test"]) == ((1, 2), (0,))
    with pytest.raises(UsageError, match=r"set task\.size and task\.channels"):
        folder(str(tmp_path / "set.npz"), **{**settings, "size": 5})
    words = ["experiment=omniglot/protonet", "task=image_folder", f"task.path={tmp_path / 'set.npz'}"]
    words += ["task.size=6", "task.channels=1", "task.ways=3", "task.queries=1", "model.filters=2"]
    named = ", ".join(f"{part}: {path}" for part, path in split.items())
    assert run(tmp_path / "runs", [*words, f"task.split={{{named}}}"]) == 2
    assert "ways=3 are more than the 2 classes of the part train" in capfd.readouterr().err
    (tmp_path / "classes.csv").write_text("cat\n")
    with pytest.raises(
        UsageError, match=r"classes\.csv cannot be read as a list of classes .*columns filename"
    ):
        folder(str(tmp_path / "set.npz"), **settings)
    np.savez_compressed(tmp_path / "bomb.npz", cat=np.zeros((100, 6, 6, 1), np.uint8))
    with pytest.raises(UsageError, match=r"larger when unpacked: write it by numpy\.savez"):
        folder(str(tmp_path / "bomb.npz"), **settings)


def test_what_is_too_large_for_an_image_is_not_read(images, omniglots, monkeypatch):
    """Images whose files are too large are an error, also if they are compressed in a zip file."""
    monkeypatch.setattr(reading, "LARGEST_IMAGE", 1000)
    (images / "owl" / "big.png").write_bytes(bytes(1001))
    with pytest.raises(UsageError, match=r"big\.png has 1001 bytes"):
        folder(str(images), ways=2, shots=1, queries=1, size=8)
    with zipfile.ZipFile(omniglots / "images_evaluation.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images_evaluation/A/a/big.png", bytes(100_000))
    with pytest.raises(UsageError, match=r"big\.png has 100000 bytes; an image may have at most 1000"):
        omniglot(str(omniglots))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ways": 4}, "ways=4 are more than the 3 classes"),
        ({"shots": 3}, "class cat has 3 images, but .* 3 shots .* 1 queries: lower shots or queries"),
        (
            {"split": {"train": ["dog", "cow"], "validation": [], "test": []}},
            r"train \(a list\) names the class cow, which the data set lacks: .* some of cat, dog, owl$",
        ),
        (
            {"split": {"train": ["dog", "cat"], "validation": [], "test": ["cat"]}},
            r"task\.split: the class cat is in train and in test: name it once",
        ),
        ({"channels": 2}, "channels=2 must be 1"),
        ({"path": "nowhere"}, "nowhere is not a folder"),
    ],
)
def test_what_cannot_be_is_refused(images, options, named):
    with pytest.raises((UsageError, ValueError), match=named):
        folder(**{"path": str(images), "ways": 2, "shots": 1, "queries": 1, "size": 8, **options})


def test_a_folder_with_one_image_is_named(images):
    for path in (images / "owl").glob("[12].png"):
        path.unlink()
    with pytest.raises(ValueError, match="class owl has 1 image, but a task needs 1 shots"):
        folder(str(images), ways=2, shots=1, queries=1, size=8)


@pytest.mark.parametrize(
    ("path", "content", "named"),
    [
        (
            "owl/9.png",
            b"no image",
            r"an image of class owl cannot be read .it is no image.: replace .*owl/9\.png",
        ),
        ("owl/9.png", picture(0)[:36] + b"\5" + picture(0)[37:], r"cannot be read .broken PNG.*owl/9\.png"),
        ("9.png", b"", r"9\.png is not in the folder of a class: move it"),
    ],
)
def test_images_that_cannot_be_read_are_named(images, path, content, named):
    (images / path).write_bytes(content)
    with pytest.raises(UsageError, match=named):
        folder(str(images), ways=2, shots=1, queries=1, size=8)


def encrypted(content):
    """Return a zip file whose entries are marked as encrypted."""
    marked = bytearray(content)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            marked[start + flags] |= 1
    return bytes(marked)


def test_an_encrypted_file_is_named(tmp_path):
    np.savez(tmp_path / "set.npz", cat=np.zeros((2, 4, 4, 3), np.uint8))
    (tmp_path / "set.npz").write_bytes(encrypted((tmp_path / "set.npz").read_bytes()))
    with pytest.raises(UsageError, match=r"set\.npz cannot be read .*encrypted"):
        folder(str(tmp_path / "set.npz"), size=4)


def homeless():
    raise RuntimeError("Could not determine home directory.")


def test_glyphs_are_drawn_once(tmp_path, monkeypatch):
    """Glyphs are read from the cache; a damaged cache is replaced, and a read-only one is not used."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    drawn = []

    def draw(seed):
        drawn.append(seed)
        letters = "ABCDEF"
        return np.arange(6 * 20, dtype=np.uint8).reshape(6, 20, 1, 1, 1).repeat(4, 2).repeat(4, 3), list(
            letters
        )

    monkeypatch.setattr(drawing, "draw", draw)
    for calls in (1, 1):
        sources._glyphs.cache_clear()
        tasks = glyphs(ways=3, shots=1, queries=1, split=(3, 0, 3))
        assert len(drawn) == calls
        np.testing.assert_array_equal(tasks.images.numpy()[:, 0, 0, 0], np.arange(120))
    (path,) = (tmp_path / "metalearn").iterdir()
    damages = (
        lambda: path.write_bytes(path.read_bytes()[:100]),
        lambda: np.savez_compressed(
            path, letters=np.array(["A"]), images=np.zeros((1, 20, 4, 4, 1), np.uint8)
        ),
        lambda: path.write_bytes(encrypted(path.read_bytes())),
    )
    for number, damage in enumerate(damages):
        damage()
        sources._glyphs.cache_clear()
        glyphs(ways=3)
        assert len(drawn) == 2 + number
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    sources._glyphs.cache_clear()
    glyphs(ways=3)
    assert len(drawn) == 5
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(pathlib.Path, "home", homeless)
    sources._glyphs.cache_clear()
    glyphs(ways=3)
    assert len(drawn) == 6
    sources._glyphs.cache_clear()


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("task.ways=60", "task: ways=60 are more than"),
        ("task.split=[1,2]", "task.split=[1, 2] must be three numbers"),
        ("model.ways=4", "class"),
        ("model.image=[32,32,1]", "(32, 32, 1)"),
        ("task.queries=20", "class A has 20 images, but a task needs 1 shots + 20 queries"),
        (
            "evaluation.task.queries=20",
            "evaluation.task: class A has 20 images, but a task needs 1 shots + 20",
        ),
        ("evaluation.queries_at_once=4", "evaluation: queries_at_once=4 does not divide the 75 queries"),
    ],
)
def test_bad_input_is_said_before_anything_is_trained(word, named, tmp_path, monkeypatch, capfd):
    made = np.zeros((12, 20, 28, 28, 1), np.uint8), list("ABCDEFGHIJKL")
    monkeypatch.setattr(sources, "_glyphs", lambda seed: dict(zip(made[1], made[0], strict=True)))
    small = ["experiment=glyphs/maml", "model.filters=2", "task.split=[6,0,6]", "run.check_derivatives=false"]
    assert run(tmp_path, [*small, word]) == 2
    message = capfd.readouterr().err
    assert named in message
    assert "Traceback" not in message
    assert not list(tmp_path.iterdir())
