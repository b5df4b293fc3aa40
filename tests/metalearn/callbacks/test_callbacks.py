"""Callbacks: output, files and stopping; they change no bit of the training, and compile nothing."""

import dataclasses
import logging

import keras
import numpy as np
import pytest

import metalearn as ml
from metalearn import callbacks
from metalearn.training import blocks


@pytest.fixture(scope="module", autouse=True)
def short_blocks():
    """Make blocks of tasks five iterations long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_ITERATIONS", 5)
        yield


@pytest.fixture(scope="module")
def built(short_blocks):
    """Return a trainer, and its state before the first iteration."""
    learner = ml.MetaLearner(ml.models.mlp(1, (4,), 1), ml.losses.mse, ml.rules.sgd(0.05))
    options = {"jit_compile": False, "check_derivatives": False}
    trainer = ml.MetaTrainer(learner, ml.tasks.Sinusoid(), keras.optimizers.Adam(1e-2), 3, seed=0, **options)
    return trainer, trainer.state()


@pytest.fixture
def trainer(built):
    trainer, state = built
    trainer.restore(state)
    return trainer


@dataclasses.dataclass(frozen=True)
class Spy:
    """Records its calls."""

    name: str
    told: list
    limit: object = None

    def begin(self, trainer, end):
        self.told.append((self.name, "begin", trainer.iteration, end))

        def called(call):
            self.told.append((self.name, call.first, call.iterations))
            return self.limit

        return callbacks.Watch(called, lambda: self.told.append((self.name, "ended")), self.limit)


def test_they_are_called_in_order_after_every_compiled_call(trainer):
    """Callbacks are called in order after each compiled call, whose length the shortest request limits."""
    told = []
    trainer.run(9, [Spy("a", told, 3), Spy("b", told)])
    calls = [(0, 3), (3, 2), (5, 3), (8, 1)]
    between = [(name, *call) for call in calls for name in "ab"]
    begun = [("a", "begin", 0, 9), ("b", "begin", 0, 9)]
    assert told == [*begun, *between, ("a", "ended"), ("b", "ended")]


def test_bits_and_program_are_those_without(built, trainer, tmp_path):
    plain = trainer.run(12)
    state = trainer.state()
    trainer.restore(built[1])
    every = [
        callbacks.pace(1e-9),
        callbacks.csv(tmp_path / "metrics.csv"),
        callbacks.checkpoint(tmp_path / "meta.npz", interval=4),
        callbacks.early_stopping(interval=3),
        callbacks.progress(lambda done, text: None),
    ]
    history = trainer.run(12, every)
    assert {name: rows.tobytes() for name, rows in history.items()} == {
        name: rows.tobytes() for name, rows in plain.items()
    }
    assert {name: value.tobytes() for name, value in trainer.state().items()} == {
        name: value.tobytes() for name, value in state.items()
    }
    assert trainer._calls._program.experimental_get_tracing_count() == 1


def test_one_that_stops_ends_the_training_and_the_others_have_the_same_rows(trainer):
    told = []
    history = trainer.run(20, [stop_at(4), Spy("b", told)])
    assert len(history["outer/loss"]) == trainer.iteration == 4
    assert told[-2:] == [("b", 0, 4), ("b", "ended")]
    assert trainer.run(3, [stop_at(0)])["outer/loss"].shape == (0,)
    assert trainer.iteration == 4


def stop_at(iteration):
    """Return a callback that stops a training there."""

    @dataclasses.dataclass(frozen=True)
    class Stop:
        def begin(self, trainer, end):
            def left(call=None):
                return max(iteration - trainer.iteration, 0)

            return callbacks.Watch(left, limit=left())

    return Stop()


@pytest.mark.parametrize("place", ["begin", "called", "ended", "limit"])
def test_one_that_fails_names_itself(trainer, place):
    """The error names a failing callback; the other callbacks are ended, and the trainer can continue."""

    def fail(*_):
        raise OSError("no space left")

    @dataclasses.dataclass(frozen=True)
    class Failing:
        path: str = "nowhere"

        def begin(self, trainer, end):
            if place == "begin":
                fail()
            called = fail if place == "called" else lambda call: "soon" if place == "limit" else None
            return callbacks.Watch(called, fail if place == "ended" else lambda: None)

    told = []
    found = "'soon'" if place == "limit" else "OSError: no space left"
    with pytest.raises(callbacks.CallbackError, match=rf"Failing\(path='nowhere'\).*{found}") as error:
        trainer.run(5, [Spy("a", told), Failing(), Spy("b", told)])
    assert isinstance(error.value.__cause__, ValueError if place == "limit" else OSError)
    assert ("a", "ended") in told
    assert (("b", "ended") in told) == (place != "begin")
    assert error.value.iteration == trainer.iteration == (0 if place == "begin" else 5)
    trainer.run(1)


def test_rows_before_one_that_is_not_finite_reach_them(tmp_path):
    """Callbacks receive the rows before a non-finite one, and the last valid parameters are saved."""
    tasks = ml.tasks.from_function(lambda seed, tasks: ml.tasks.Sinusoid().sample(seed, tasks))
    learner = ml.MetaLearner(ml.models.mlp(1, (4,), 1), ml.losses.mse, ml.rules.sgd(0.05))
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([6], [1e-3, 1e38])
    options = {"jit_compile": False, "check_derivatives": False}
    trainer = ml.MetaTrainer(learner, tasks, keras.optimizers.SGD(schedule), 3, **options)
    path, saved = tmp_path / "metrics.csv", tmp_path / "meta.npz"
    with pytest.raises(ml.NonFiniteError) as error:
        trainer.run(20, [callbacks.csv(path), callbacks.checkpoint(saved)])
    assert 5 < trainer.iteration == len(error.value.history["outer/loss"]) < 20
    assert len(path.read_text().splitlines()) == 1 + trainer.iteration
    assert all(np.isfinite(leaf).all() for leaf in ml.load(saved, learner)["parameters"].values())


def test_the_table_has_all_rows_once(built, trainer, tmp_path):
    """The table has each row once, also after training has resumed from an earlier iteration."""
    path = tmp_path / "metrics.csv"
    for count in (4, 3):
        history = trainer.run(count, [callbacks.csv(path)])
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    assert table[:, 0].tolist() == list(range(7))
    names = path.read_text().splitlines()[0].split(",")
    assert names == ["iteration", *history]
    np.testing.assert_array_equal(
        table[4:, names.index("outer/loss")].astype(np.float32), history["outer/loss"]
    )
    whole = path.read_bytes()
    trainer.restore(built[1])
    trainer.run(4)
    trainer.run(3, [callbacks.csv(path)])
    assert path.read_bytes() == whole
    trainer.run(1)
    with pytest.raises(callbacks.CallbackError, match="has no rows up to iteration 8"):
        trainer.run(1, [callbacks.csv(path)])
    trainer.run(2, [callbacks.csv(tmp_path / "later.csv")])
    trainer.run(2, [callbacks.csv(tmp_path / "later.csv")])
    assert len((tmp_path / "later.csv").read_text().splitlines()) == 5
    trainer.restore(built[1])
    trainer.run(1, [callbacks.csv(path)])
    assert len(path.read_text().splitlines()) == 2


def test_checkpoints_are_what_load_reads(trainer, tmp_path):
    trainer.run(7, [callbacks.checkpoint(tmp_path / "meta-{iteration}.npz", interval=3)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meta-3.npz", "meta-6.npz", "meta-7.npz"]
    loaded = ml.load(tmp_path / "meta-7.npz", trainer.learner)
    np.testing.assert_array_equal(
        loaded["parameters"]["output/kernel"], trainer.meta["parameters"]["output/kernel"]
    )


def judged(monkeypatch, losses):
    """Return an early stopping with these validation losses, one for each iteration."""
    told = iter(losses)
    monkeypatch.setattr(callbacks.validation, "of", lambda self, trainer: lambda: next(told))
    return callbacks.validation(ml.tasks.Sinusoid())


@pytest.mark.parametrize(
    ("losses", "settings", "stopped", "kept"),
    [
        ([3, 2, 2.5, 2.1, 1], {"patience": 2}, 4, 4),
        ([3, 2, 2.5, 2.1, 1], {"patience": 2, "restore_best": True}, 4, 2),
        ([3, 2, 2.5, 1.9, 2.5, 1.7, 2, 2], {"patience": 2, "restore_best": True}, 8, 6),
        ([3, 2.9, 2.8, 2.7], {"patience": 2, "min_delta": 0.5}, 3, 3),
        ([np.nan, np.nan, 1], {"patience": 2, "restore_best": True}, 2, 2),
        (range(20, 0, -1), {"patience": 1, "restore_best": True}, 10, 10),
    ],
)
def test_it_stops_early(trainer, monkeypatch, losses, settings, stopped, kept, caplog):
    stopping = callbacks.early_stopping(judged(monkeypatch, losses), interval=1, **settings)
    with caplog.at_level(logging.INFO):
        history = trainer.run(10, [stopping])
    assert len(history["outer/loss"]) == stopped
    assert trainer.iteration == kept
    assert ("smallest loss" in caplog.text) == (stopped < 10)


def test_the_query_loss_is_judged_over_the_interval(trainer):
    """Early stopping compares means of the query loss over intervals, and restores the best state.

    No improvement reaches ``min_delta``, so that the second interval is the last and the first is the best.
    """
    stopping = callbacks.early_stopping(patience=1, interval=4, min_delta=1e3, restore_best=True)
    states = {}

    @dataclasses.dataclass(frozen=True)
    class Keep:
        def begin(self, trainer, end):
            return callbacks.Watch(lambda call: states.update({trainer.iteration: trainer.state()}))

    assert len(trainer.run(20, [Keep(), stopping])["outer/loss"]) == 8
    assert trainer.iteration == 4
    for name, value in trainer.state().items():
        np.testing.assert_array_equal(value, states[4][name])


def test_validation_is_the_evaluation(trainer):
    tasks = ml.tasks.Sinusoid(shots=5)
    loss = callbacks.validation(tasks, num_tasks=20, steps=2, seed=4).of(trainer)()
    assert loss == ml.evaluate(trainer.learner, trainer.meta, tasks, 20, 2, 4).mean[-1]


def test_progress_is_text(trainer, capsys):
    trainer.run(30, [callbacks.progress(), callbacks.pace(1e-9), Spy("every", [], 1)])
    printed = capsys.readouterr().err.splitlines()
    assert [line.partition("/30  query loss ")[0] for line in printed] == [
        f"iteration {done}" for done in (*range(1, 30, 3), 30)
    ]
    assert printed[-1].endswith(" it/s")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: callbacks.pace(0), "seconds"),
        (lambda: callbacks.progress(seconds=-1), "seconds"),
        (lambda: callbacks.checkpoint("meta.npz", interval=0), "interval"),
        (lambda: callbacks.early_stopping(patience=0), "patience"),
        (lambda: callbacks.early_stopping(interval=1.5), "interval"),
        (lambda: callbacks.early_stopping(min_delta=np.nan), "min_delta"),
    ],
)
def test_bad_settings_are_named(make, named):
    with pytest.raises(ValueError, match=f"^{named} must be"):
        make()


@pytest.mark.parametrize("given", [print, [print], callbacks.progress(), [callbacks.progress], "x"])
def test_what_is_not_a_list_of_callbacks_is_refused(built, given):
    trainer, _ = built
    with pytest.raises(ValueError, match="callbacks must be a list of callbacks, such as"):
        trainer.run(1, given)
