"""Diagnostics in a training: nothing is built if they are off, and no bit changes if they are on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml
from experiments.harness.runs import metrics
from experiments.harness.runs.rundir import RunDirectory
from experiments.harness.session.diagnosis import Diagnoses, begun, next_update
from experiments.harness.session.session import Session


def make_trainer(rate=0.01, check=False):
    """Return a trainer of a small network that learns its inner rates, not compiled with XLA."""
    rule = ml.rules.sgd(ml.rules.learned(rate, per="variable"))
    learner = ml.MetaLearner(ml.models.mlp(1, (4,), 1), ml.losses.mse, rule)
    optimizer = keras.optimizers.Adam(1e-2)
    options = {"jit_compile": False, "check_derivatives": check}
    return ml.MetaTrainer(learner, ml.tasks.Sinusoid(), optimizer, meta_batch_size=3, **options)


def session(trainer, folder, interval):
    """Return the session of a run of a single process, with eight iterations."""
    config = {"diagnostics": {"interval": interval}, "training": {"iterations": 8}}
    return Session(RunDirectory(folder), config, trainer, lock=None)


def diagnoses(trainer, folder, interval):
    """Return the diagnostics of a run of a single process."""
    return Diagnoses(session(trainer, folder, interval))


def bits(trainer):
    """Return the complete state of a training."""
    return {name: value.tobytes() for name, value in trainer.state().items()}


def test_the_next_update_is_the_one_that_follows():
    """Ratios and rates equal those of the next update to 1e-5; the trainer does not change."""
    trainer = make_trainer()
    trainer.run(3)
    before, state, gradient = trainer.meta, bits(trainer), trainer.last_gradient
    found = next_update(trainer)
    assert bits(trainer) == state
    assert trainer.last_gradient is gradient
    trainer.run(1)
    leaves = (tf.nest.flatten(part) for part in (before, trainer.meta, trainer.last_gradient))
    for name, old, new, slope in zip(ml.derivatives.names(before), *leaves, strict=True):
        moved = np.linalg.norm(new - old)
        np.testing.assert_allclose(found[f"update/ratio/{name}"], moved / np.linalg.norm(old), rtol=1e-5)
        np.testing.assert_allclose(found[f"update/rate/{name}"], moved / np.linalg.norm(slope), rtol=1e-5)


def test_an_update_that_cannot_be_made_is_nan():
    """If the next update is not finite, its ratios are NaN, and the trainer does not change."""
    trainer = make_trainer(1e30)
    state = bits(trainer)
    assert all(np.isnan(value) for value in next_update(trainer).values())
    assert bits(trainer) == state


def test_nothing_is_built_without_an_interval(tmp_path, monkeypatch):
    """Without an interval, no diagnostics are computed, no file is written and no call is shortened."""
    monkeypatch.setattr(ml.diagnostics, "diagnose", lambda *_, **__: pytest.fail("a diagnosis is built"))
    trainer = make_trainer()
    diagnose = diagnoses(trainer, tmp_path, None)
    assert diagnose.begin(trainer, 10).limit is None
    assert diagnose.seconds == 0
    assert list(tmp_path.iterdir()) == []
    assert trainer._calls._program is None


@pytest.mark.slow
def test_the_training_s_program_is_the_same(tmp_path):
    """Diagnostics at iterations 0 and 4 add rows, and change neither the training's graph nor its bits."""
    plain, diagnosed = make_trainer(), make_trainer()
    path = tmp_path / "diagnostics.csv"
    diagnose = diagnoses(diagnosed, tmp_path, 4)
    for trainer in (plain, diagnosed):
        trainer.run(6, [diagnose] if trainer is diagnosed else [])
        assert trainer._calls._program.experimental_get_tracing_count() == 1
    assert bits(plain) == bits(diagnosed)
    assert operations(plain) == operations(diagnosed)
    iterations, rows = metrics.read_table(path)
    assert iterations.tolist() == [0, 4]
    rates = rows["learned/mean/learning_rate/output/bias"]
    assert rates[0] == np.float32(0.01)
    assert rates[1] != rates[0]
    assert diagnose.seconds > 0


def operations(trainer):
    """Return the operations of a trainer's program."""
    (program,) = trainer._calls._program._list_all_concrete_functions()
    return [operation.type for operation in program.graph.get_operations()]


def test_what_cannot_be_diagnosed_is_trained(tmp_path, capsys):
    """A learner that cannot be diagnosed is reported once and is trained, without rows."""
    layers = [keras.layers.Dense(2), keras.layers.LayerNormalization(name="norm"), keras.layers.Dense(1)]
    learner = ml.MetaLearner(
        keras.Sequential([keras.Input((1,)), *layers]),
        ml.losses.mse,
        ml.rules.sgd(0.1),
        estimator=ml.estimators.first_order(),
    )
    optimizer = keras.optimizers.Adam(1e-2)
    trainer = ml.MetaTrainer(learner, ml.tasks.Sinusoid(), optimizer, meta_batch_size=2, jit_compile=False)
    diagnose = diagnoses(trainer, tmp_path, 1)
    assert diagnose.begin(trainer, 10).limit is None
    assert "norm" in capsys.readouterr().out
    trainer.run(1, [diagnose])
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_an_interval_beyond_the_end_leaves_the_first(tmp_path, monkeypatch):
    """A run that is shorter than the interval has a row for its first iteration."""
    monkeypatch.setattr(ml.diagnostics, "diagnose", lambda *_, cache: {"order/norm": tf.constant(2.0)})
    trainer = make_trainer()
    diagnose = diagnoses(trainer, tmp_path, 7000)
    assert diagnose.begin(trainer, 5).limit == 7000
    trainer.run(5, [diagnose])
    assert diagnose.begin(trainer, 10).limit == 6995
    iterations, rows = metrics.read_table(tmp_path / "diagnostics.csv")
    assert iterations.tolist() == [0]
    assert rows["order/norm"] == pytest.approx([2.0])


def test_a_diagnosis_may_be_made_ahead(tmp_path):
    """A diagnosis in a thread, while the training's program is compiled and compared, gives the same row."""
    plain, ahead = make_trainer(check=True), make_trainer(check=True)
    for name in ("plain", "ahead"):
        (tmp_path / name).mkdir()
    diagnoses(plain, tmp_path / "plain", 4).diagnose()
    future = begun(session(ahead, tmp_path / "ahead", 4))
    ahead.compare()
    Diagnoses(session(ahead, tmp_path / "ahead", 4), future).diagnose()
    assert future.done()
    rows = [(tmp_path / name / "diagnostics.csv").read_bytes() for name in ("plain", "ahead")]
    assert rows[0] == rows[1]


def test_only_the_diagnosis_that_is_due_is_made_ahead(tmp_path, monkeypatch):
    """None is begun if none is due, if it has been made, after the end, or for tasks one after the other."""
    monkeypatch.setattr(ml.diagnostics, "diagnose", lambda *_, cache: {})
    trainer = make_trainer()
    assert begun(session(trainer, tmp_path, 4)) is not None
    assert begun(session(trainer, tmp_path, None)) is None
    trainer._calls.mapping = "sequential"
    assert begun(session(trainer, tmp_path, 4)) is None
    trainer._calls.mapping = "vectorized"
    for iteration, due in [(3, False), (4, True), (8, False)]:
        trainer.iteration = iteration
        assert (begun(session(trainer, tmp_path, 4)) is not None) == due
    trainer.iteration = 4
    metrics.append(tmp_path / "diagnostics.csv", 4, {"order/norm": np.ones(1)})
    assert begun(session(trainer, tmp_path, 4)) is None
