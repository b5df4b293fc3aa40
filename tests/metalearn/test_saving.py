"""Meta-parameters on disk: files are read exactly, and parts that do not fit are named."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.nest import names

# Keras' own, when it writes a file with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

META_SGD = ml.rules.sgd(ml.rules.learned(0.1, per="element"))


def learner_of(hidden=(3,), rule="sgd", **options):
    return ml.MetaLearner(ml.models.mlp(2, hidden, 1), "mse", rule, **options)


def same(left, right):
    """Compare every leaf's bits, types and place."""
    tf.nest.assert_same_structure(left, right)
    for one, other in zip(tf.nest.flatten(left), tf.nest.flatten(right), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_arrays_of_all_leaves_come_back(tmp_path):
    """All leaves, also learned rates, are loaded by an equal learner; no other file is written."""
    learner, path = learner_of(rule=META_SGD), tmp_path / "meta.npz"
    meta = learner.initialize(7)
    ml.save(path, learner.initialize(5), learner)
    ml.save(path, meta, learner)
    same(ml.load(str(path), learner_of(rule=META_SGD)), meta)
    assert [each.name for each in tmp_path.iterdir()] == ["meta.npz"]
    with np.load(path, allow_pickle=False) as arrays:
        assert "meta/rule/learning_rate/hidden_0/kernel" in arrays.files
        np.testing.assert_array_equal(
            arrays["meta/parameters/hidden_0/kernel"], meta["parameters"]["hidden_0/kernel"]
        )


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "start", [1.5, {"a": [np.ones(2)], "b": (2.0, np.zeros((1, 2)))}], ids=["bare", "nest"]
)
def test_nests_of_any_problem_come_back(tmp_path, dtype, start):
    """Nested and single tensors are loaded exactly, also of types that NumPy's files lack."""
    problem = ml.BilevelProblem(
        start=lambda phi, task: {"t": tf.zeros([])},
        inner_loss=lambda theta, phi, batch, model: theta["t"] ** 2,
        outer_loss=lambda theta, phi, task, model: theta["t"],
        rule=ml.rules.sgd(),
        steps=1,
    )
    phi = tf.nest.map_structure(lambda leaf: tf.cast(leaf, dtype), start)
    learner = ml.BilevelLearner(problem, start=phi)
    meta = tf.nest.map_structure(lambda leaf: leaf + 3, phi)
    ml.save(tmp_path / "meta.npz", meta, learner)
    same(ml.load(tmp_path / "meta.npz", learner), meta)
    with pytest.raises(ValueError, match="a BilevelLearner has no Keras model of its own: save and load"):
        ml.save(tmp_path / "meta.keras", meta, learner)


def test_a_keras_model_comes_back(tmp_path):
    learner, path = learner_of(), tmp_path / "meta.keras"
    meta = learner.initialize(7)
    ml.save(path, meta, learner)
    same(ml.load(path, learner_of()), meta)
    model = keras.saving.load_model(path)
    np.testing.assert_array_equal(model.get_weights()[0], meta["parameters"]["hidden_0/kernel"])
    assert [each.name for each in tmp_path.iterdir()] == ["meta.keras"]


def test_what_keras_does_not_hold_is_not_lost(tmp_path):
    learner = learner_of(rule=META_SGD)
    with pytest.raises(ValueError, match=r"they also have rule/learning_rate/hidden_0/bias, .*npz"):
        ml.save(tmp_path / "meta.keras", learner.initialize(0), learner)
    assert not list(tmp_path.iterdir())


def test_leaves_that_differ_are_named(tmp_path):
    learner = learner_of()
    for path in (tmp_path / "meta.npz", tmp_path / "meta.keras"):
        ml.save(path, learner.initialize(0), learner)
        with pytest.raises(ValueError, match=r"missing \[.*hidden_1/bias.*hidden_1/kernel.*\], unknown \[\]"):
            ml.load(path, learner_of((3, 3)))
        with pytest.raises(ValueError, match=r"missing \[\], unknown \[.*hidden_0/bias.*hidden_0/kernel"):
            ml.load(path, learner_of(()))
        wider = (
            r"float32 \(3,\) at parameters/hidden_0/bias, where float32 \(4,\) is needed; .*hidden_0/kernel, "
        )
        with pytest.raises(ValueError, match=wider):
            ml.load(path, learner_of((4,)))
        double = ml.MetaLearner(ml.models.mlp(2, (3,), 1, dtype="float64"), "mse", "sgd")
        with pytest.raises(
            ValueError, match=r"float32 \(3,\) at parameters/hidden_0/bias, where float64 \(3,\)"
        ):
            ml.load(path, double)
    with pytest.raises(ValueError, match=r"missing .*rule/learning_rate/hidden_0/bias"):
        ml.load(tmp_path / "meta.npz", learner_of(rule=META_SGD))
    with pytest.raises(ValueError, match=r"meta has float32 \(4,\) at parameters/hidden_0/bias"):
        ml.save(tmp_path / "other.npz", learner_of((4,)).initialize(0), learner)
    assert not (tmp_path / "other.npz").exists()


def test_files_that_are_something_else_are_refused(tmp_path):
    learner = learner_of()
    entries = {f"meta/{name}": 0.0 for name in names(learner.initialize(0))}
    objects = {name: np.array([print], dtype=object) for name in entries}
    np.savez(tmp_path / "objects.npz", allow_pickle=True, **objects)
    with pytest.raises(ValueError, match=r"objects.npz is not a file of arrays .*allow_pickle=False"):
        ml.load(tmp_path / "objects.npz", learner)
    for name in ("text.npz", "text.keras"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(ValueError, match=f"{name} is not a"):
            ml.load(tmp_path / name, learner)
        with pytest.raises(FileNotFoundError, match=f"absent_{name}"):
            ml.load(tmp_path / f"absent_{name}", learner)
    with pytest.raises(ValueError, match=r"saved as .npz or .keras, but the path is 'meta.pkl'"):
        ml.save("meta.pkl", learner.initialize(0), learner)
