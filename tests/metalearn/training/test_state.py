"""States of a trainer: those of another configuration are refused, and then nothing has changed."""

import keras
import numpy as np
import pytest

import metalearn as ml


def made():
    """Return a trainer in its first state, with momentum."""
    learner = ml.MetaLearner(ml.models.mlp(hidden=(4,)), ml.losses.mse, ml.rules.sgd(0.1))
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    return ml.MetaTrainer(learner, ml.tasks.Sinusoid(), optimizer, 10, check_derivatives=False)


@pytest.fixture(scope="module")
def trainer():
    """A trainer that nothing changes."""
    return made()


@pytest.fixture
def refused(trainer):
    """Return a function that checks that a changed state is refused, with words that name it."""

    def check(change, *named):
        before = trainer.state()
        state = {name: value + np.ones_like(value) for name, value in before.items()}
        change(state)
        with pytest.raises(ValueError, match=r"\w") as error:
            trainer.restore(state)
        assert all(name in str(error.value) for name in named)
        after = trainer.state()
        assert {name: value.tobytes() for name, value in after.items()} == {
            name: value.tobytes() for name, value in before.items()
        }

    return check


def test_states_fit_across_trainers(trainer):
    """Trainers of one configuration have equal names in their states."""
    assert list(trainer.state()) == list(made().state())


@pytest.mark.parametrize("name", ["iteration", "meta/parameters/hidden_0/kernel", None])
def test_a_missing_entry_is_named(trainer, refused, name):
    """The message names a missing entry (``None`` means the last one)."""
    name = name or list(trainer.state())[-1]
    refused(lambda state: state.pop(name), name)


def test_an_unknown_entry_is_named(refused):
    refused(lambda state: state.update(other=np.zeros(1)), "other")


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("meta/parameters/output/kernel", np.zeros((5, 1), np.float32), "(5, 1)"),
        ("meta/parameters/output/kernel", np.zeros((4, 1), np.float64), "float64"),
        ("iteration", np.zeros(2, np.int64), "iteration"),
        ("iteration", np.float64(2.5), "iteration"),
    ],
)
def test_other_shapes_and_types_are_named(refused, name, value, found):
    """The message names the entry, its shape and its type."""
    refused(lambda state: state.update({name: value}), name, found)
