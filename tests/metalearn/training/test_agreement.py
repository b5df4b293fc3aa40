"""The compiled meta-gradient is compared with that of eager execution before the first iteration."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import metalearn as ml


def trainer_of(factor=lambda: 1.0, model=None, **settings):
    """Return a trainer with an inner loss that a compiler gets wrong by a factor."""
    model = model or ml.models.mlp(hidden=(8,))
    learner = ml.MetaLearner(model, lambda y, z: factor() * tf.reduce_mean(tf.square(y - z)), "sgd", steps=1)
    settings = {"jit_compile": False, **settings}
    return ml.MetaTrainer(learner, ml.tasks.Sinusoid(), keras.optimizers.Adam(), 3, **settings)


def wrong_in_a_graph():
    return 1.0 if tf.executing_eagerly() else 1.3


def test_a_compiler_s_fault_is_found_before_the_first_iteration():
    """A wrong compiled gradient is an error before the first iteration, unless the check is disabled."""
    trainer = trainer_of(wrong_in_a_graph)
    before = trainer.state()
    with pytest.raises(ValueError, match=r"compiled meta-gradient differs .* by 0\.\d+ times its length"):
        trainer.run(1)
    for name, value in trainer.state().items():
        np.testing.assert_array_equal(value, before[name])
    assert len(trainer_of(wrong_in_a_graph, check_derivatives=False).run(1)["outer/loss"]) == 1


@pytest.mark.slow
def test_they_agree_to_rounding():
    """The relative difference is below 1e-5, is computed once, and does not change the training."""
    trainer, unchecked = trainer_of(), trainer_of(check_derivatives=False)
    assert trainer.disagreement is None
    history, expected = trainer.run(3), unchecked.run(3)
    assert 0 <= trainer.disagreement < 1e-5
    np.testing.assert_array_equal(history["outer/loss"], expected["outer/loss"])


@pytest.mark.slow
def test_of_models_that_draw_noise():
    """With dropout, the difference is below 1e-5, also for copies of a task with their own masks."""
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(8), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    )
    trainer = trainer_of(model=model)
    trainer.compare()
    assert 0 <= trainer.disagreement < 1e-5


def test_of_inner_loops_that_are_carried():
    """In the middle of carried inner loops, the difference is below 1e-5."""
    first = trainer_of(carry=3)
    first.run(1)
    second = trainer_of(carry=3)
    second.restore(first.state())
    second.compare()
    assert 0 <= second.disagreement < 1e-5
