import keras
import pytest
from keras import layers

from keras_cvx.backbones import check_no_top


def ending_in(*tails):
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, [tail(inputs) for tail in tails])


@pytest.mark.parametrize(
    "tails",
    [
        [layers.Identity()],
        [layers.Reshape((64, 3))],
        [layers.GlobalAveragePooling2D(), layers.MaxPooling2D()],
    ],
)
def test_maps_and_tokens_are_let_through(tails):
    check_no_top(ending_in(*tails))


@pytest.mark.parametrize("tails", [[layers.Flatten()], [layers.GlobalMaxPooling2D()] * 2])
def test_vectors_are_refused(tails):
    with pytest.raises(ValueError, match=r"classification top.*`include_top=False` and without"):
        check_no_top(ending_in(*tails))
