"""The protocol of estimators: frozen records that learners call."""

import dataclasses

import pytest
import tensorflow as tf

import metalearn as ml
from metalearn.estimators import Estimator

RECORDS = [
    ml.estimators.annealed(ml.estimators.first_order(), ml.estimators.checkpointed(), 10),
    ml.estimators.checkpointed("log"),
    ml.estimators.evolution(0.3, 3),
    ml.estimators.first_order(),
    ml.estimators.forward_mode(limit=12),
    ml.estimators.frozen(),
    ml.estimators.implicit("neumann", 3, scale=0.1),
    ml.estimators.implicit(iterations=3, damping=0.5, of="step"),
    ml.estimators.persistent_evolution(0.3, 3, windows=2),
    ml.estimators.reptile(),
    ml.estimators.truncated(2),
    ml.estimators.unrolled(),
]


def test_a_plain_function_is_refused():
    """A function is not an estimator, and neither is an estimator's class; the message shows a valid one."""
    for candidate in (lambda problem, phi, tasks, carry, seed: None, ml.estimators.checkpointed):
        with pytest.raises(ValueError, match=r"must be an estimator like .*checkpointed\(\), got "):
            ml.MetaLearner(ml.models.mlp(), ml.losses.mse, ml.rules.sgd(), 3, estimator=candidate)


@dataclasses.dataclass(frozen=True)
class Recorder(Estimator):
    """Reports the seed that it is called with, and estimates as ``frozen`` does."""

    def __call__(self, problem, phi, tasks, carry=(), seed=(0, 0)):
        result, carry = ml.estimators.frozen()(problem, phi, tasks, carry, seed)
        return result._replace(metrics={"seed": tf.convert_to_tensor(seed)}), carry


def test_the_learner_hands_the_seed_on(sinusoids):
    """The learner passes its seed to the estimator; the default is (0, 0)."""
    learner = ml.MetaLearner(
        ml.models.mlp(dtype="float64"), ml.losses.mse, ml.rules.sgd(), estimator=Recorder()
    )
    for arguments, seed in (({}, [0, 0]), ({"seed": (1, 2)}, [1, 2]), ({"seed": (3, 4)}, [3, 4])):
        result = learner.meta_gradient(learner.initialize(0), sinusoids, **arguments)
        assert result.metrics["seed"].numpy().tolist() == seed


@pytest.mark.parametrize("estimator", RECORDS, ids=lambda record: type(record).__name__)
def test_records(estimator):
    """Equal settings are equal, ``repr`` can be evaluated, and attributes cannot be changed."""
    pasted = eval(repr(estimator), vars(ml.estimators))
    assert pasted == estimator
    assert hash(pasted) == hash(estimator)
    with pytest.raises(dataclasses.FrozenInstanceError):
        estimator.window = 3


def test_the_old_name():
    """``mixed_mode`` returns ``checkpointed``."""
    assert repr(ml.estimators.mixed_mode()) == "checkpointed(checkpoints='all')"
