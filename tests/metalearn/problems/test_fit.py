"""Arguments of a learner that are objects of another kind."""

import pytest

import metalearn as ml

MODEL = ml.models.mlp(hidden=(4,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "mlp"}, "model must be a Keras model, .* got 'mlp'"),
        ({"adapted": ["head"]}, r"adapted must be a pattern, .* got \['head'\]"),
        ({"head": "ridge"}, r"head must be a head, such as metalearn\.heads\.ridge\(\), got 'ridge'"),
        ({"head": ml.heads.ridge}, "head must be a head, .* got <class"),
        ({"batch": 3}, "batch must be a function, .* got 3"),
    ],
)
def test_objects_of_another_kind_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ml.MetaLearner(**{"model": MODEL, "loss": "mse", "rule": "sgd", **arguments})
