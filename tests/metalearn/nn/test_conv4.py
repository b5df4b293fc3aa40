"""The four-block network: its shapes, its keys, and what it refuses."""

import numpy as np
import pytest

import metalearn as ml


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        # Kernels 3 x 3 of 1 or 3 channels and three times of F; biases, scales and shifts; the last layer.
        ({"filters": 64}, 9 * 64 + 3 * 9 * 64 * 64 + 4 * 3 * 64 + 64 * 5 + 5),
        (
            {"image": (84, 84, 3), "filters": 32, "reduce": "pool"},
            9 * 3 * 32 + 3 * 9 * 32 * 32 + 4 * 3 * 32 + 5 * 5 * 32 * 5 + 5,
        ),
    ],
)
def test_it_is_the_network_of_the_papers(options, parameters):
    """The network has the papers' 113,000 parameters for Omniglot and 32,901 for mini-ImageNet."""
    model = ml.models.conv4(**options)
    assert sum(value.shape.num_elements() for value in ml.functional.parameters(model).values()) == parameters
    assert model.output_shape == (None, 5)
    assert list(ml.functional.parameters(model))[:4] == [
        "conv_0/kernel",
        "conv_0/bias",
        "norm_0/gamma",
        "norm_0/beta",
    ]


def test_its_output_may_start_from_zero():
    """With ``output="zeros"``, the output layer is 0 in the model and in drawn parameters."""
    model = ml.models.conv4(filters=2, output="zeros")
    for values in (ml.functional.parameters(model), ml.functional.initialize(model, 3)):
        zero = {key for key, value in values.items() if not np.any(value)}
        assert {key for key in values if key.startswith("output/")} <= zero
        assert not zero & {f"conv_{block}/kernel" for block in range(4)}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ways": 1}, "ways"),
        ({"filters": 0}, "filters"),
        ({"reduce": "mean"}, "reduce must be one of stride, pool, got 'mean'"),
        ({"output": "ones"}, "output must be one of glorot_uniform, zeros, got 'ones'"),
        ({"image": (28, 28)}, "image must be height, width and channels"),
        ({"image": (15, 28, 1), "reduce": "pool"}, "smaller than 16 x 16"),
    ],
)
def test_what_cannot_be_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        ml.models.conv4(**options)
