"""Names of siblings: user-defined ones are kept, automatic ones are numbered as in a new process."""

import keras
import pytest

import metalearn as ml
from metalearn.nn.names import named_variables, unique_names

LAYERS = keras.layers


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["dense", "dense_1", "dense_2"], ["dense", "dense_1", "dense_2"]),
        (["dense_7", "dense_8", "dense_12"], ["dense", "dense_1", "dense_2"]),
        (["dense_9", "dense_7", "dense_8"], ["dense_2", "dense", "dense_1"]),
        (["dense_10", "dense_9"], ["dense_1", "dense"]),
        (["encoder_dense_2", "dense_02", "dense_x"], ["encoder_dense_2", "dense_02", "dense_x"]),
        (["a", "a", "a_1"], ["a", "a_1", "a_1_1"]),
        (["dense_3", "dense_3"], ["dense", "dense_1"]),
        (["forward_dense_4", "dense_4"], ["forward_dense", "dense"]),
    ],
)
def test_siblings(names, expected):
    assert unique_names([(name, "Dense") for name in names]) == expected


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("conv2d_3", "Conv2D", "conv2d"),
        ("max_pooling2d_3", "MaxPooling2D", "max_pooling2d"),
        ("lstm_cell_1", "LSTMCell", "lstm_cell"),
        ("re_lu_4", "ReLU", "re_lu"),
        ("variable_2", "Variable", "variable"),
        ("conv2d_3", "Dense", "conv2d_3"),
    ],
)
def test_kinds(name, kind, expected):
    """Automatic names lose their number if they have Keras' form of the class name; others are kept."""
    assert unique_names([(name, kind)]) == [expected]


def test_the_spelling_of_every_layer_is_kerass():
    """For every layer without required arguments, the name of a second instance loses its number."""
    made = 0
    for kind in vars(LAYERS).values():
        if isinstance(kind, type) and issubclass(kind, keras.Layer):
            try:
                kind(), (layer := kind())
            except (TypeError, ValueError, NotImplementedError, ImportError):
                continue
            made += 1
            (found,) = unique_names([(layer.name, kind.__name__)])
            assert found != layer.name
            assert layer.name.rpartition("_")[0] == found
    assert made > 40


def test_order_of_creation_decides_in_every_process():
    """Of two layers, the one created first has the lower number, whatever the state of Keras' counter."""
    for _ in range(2):
        late, early = LAYERS.Dense(3), LAYERS.Dense(2)
        inputs = keras.Input((4,))
        model = keras.Model(inputs, late(early(inputs)))
        kernels = {key: value.shape for key, value in ml.functional.parameters(model).items()}
        assert kernels["dense/kernel"] == (2, 3)
        assert kernels["dense_1/kernel"] == (4, 2)


def test_paths_by_given_names():
    """Variables have a key with numbered names, a path of the model's own names, and the innermost layer."""
    inner = keras.Sequential([LAYERS.Dense(2, name="dense_5")], name="inner")
    model = keras.Sequential([keras.Input((3,)), inner])
    kernel, bias = named_variables(model)
    assert (kernel.key, kernel.given) == ("inner/dense/kernel", "inner/dense_5/kernel")
    assert kernel.variable is inner.layers[0].kernel
    assert kernel.owner is bias.owner is inner.layers[0]
