"""Tokens as maps: by painting one patch and finding it again, never by shapes alone."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx.backbones import FeatureExtractor, TokensToMap, measure_strides

PATCH, ROWS, COLUMNS = 4, 3, 5


class Prefix(layers.Layer):
    """Tokens that are of no patch, before the others."""

    def __init__(self, count, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def call(self, x):
        return ops.pad(x, [[0, 0], [self.count, 0], [0, 0]], constant_values=-7.0)

    def compute_output_shape(self, shape):
        return (shape[0], None if shape[1] is None else shape[1] + self.count, shape[2])

    def get_config(self):
        return {**super().get_config(), "count": self.count}


class Patches(layers.Layer):
    """The mean of each patch as a token, opaque as the layers of KerasHub are."""

    def call(self, x):
        x = ops.average_pool(x, PATCH, PATCH, data_format="channels_last")
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))

    def compute_output_shape(self, shape):
        return (shape[0], shape[1] // PATCH * (shape[2] // PATCH), shape[3])


class Windows(layers.Layer):
    """Tokens of four windows of an image, side by side on the batch axis."""

    def call(self, x):
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2] // 4, x.shape[3]))

    def compute_output_spec(self, x):
        batch, height, width, channels = x.shape
        batch = None if batch is None else 4 * batch
        return keras.KerasTensor((batch, height * width // 4, channels), x.dtype)


def transformer(prefix, height=PATCH * ROWS, width=PATCH * COLUMNS):
    inputs = keras.Input((height, width, 3))
    tokens = Prefix(prefix)(Patches()(inputs))
    return keras.Model(inputs, layers.Dense(3, use_bias=False)(tokens), name="transformer")


def painted(row, column):
    """Images before and after one patch is painted."""
    before = np.random.default_rng(0).uniform(0, 255, (1, PATCH * ROWS, PATCH * COLUMNS, 3))
    after = before.copy()
    after[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] += 50.0
    return before.astype("float32"), after.astype("float32")


def changed_cells(function, row, column):
    before, after = (ops.convert_to_numpy(function(x)) for x in painted(row, column))
    return np.argwhere(np.any(before != after, axis=-1)[0]).tolist()


def test_empty_batch():
    layer = TokensToMap(2, 3, num_prefix_tokens=1)
    assert layer(np.zeros((0, 7, 5), "float32")).shape == (0, 2, 3, 5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_every_token_in_its_cell(prefix, data_format):
    tokens = np.random.default_rng(0).normal(size=(2, prefix + 6, 4)).astype("float32")
    layer = TokensToMap(2, 3, num_prefix_tokens=prefix, data_format=data_format)
    maps = ops.convert_to_numpy(layer(tokens))
    for row in range(2):
        for column in range(3):
            cell = (
                maps[:, row, column] if data_format == "channels_last" else maps[:, :, row, column]
            )
            np.testing.assert_array_equal(cell, tokens[:, prefix + 3 * row + column])


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 1), (1, 4)])
def test_a_painted_patch_is_found_in_its_cell(prefix, row, column):
    extractor = FeatureExtractor(transformer(prefix), PATCH)
    assert extractor.outputs[0].shape == (None, ROWS, COLUMNS, 3)
    assert changed_cells(extractor, row, column) == [[row, column]]


def test_saved_and_loaded(tmp_path):
    with keras.saving.custom_object_scope({"Prefix": Prefix, "Patches": Patches}):
        model = transformer(1)
        extractor = FeatureExtractor(model, [PATCH])
        extractor.save(tmp_path / "tokens.keras")
        loaded = keras.saving.load_model(tmp_path / "tokens.keras")
    x = painted(0, 0)[0]
    np.testing.assert_array_equal(
        ops.convert_to_numpy(loaded(x)), ops.convert_to_numpy(extractor(x))
    )


def test_the_last_tokens_outrank_the_patches_that_they_come_from():
    """A patch embedding by a convolution is a map of the same stride, and the least processed."""
    inputs = keras.Input((PATCH * ROWS, PATCH * COLUMNS, 3))
    x = layers.AveragePooling2D(PATCH)(inputs)
    x = layers.Rescaling(-1.0)(layers.Reshape((ROWS * COLUMNS, 3))(x))
    extractor = FeatureExtractor(keras.Model(inputs, x), PATCH)
    assert changed_cells(extractor, 2, 1) == [[2, 1]]
    assert float(ops.max(extractor(painted(2, 1)[0]))) < 0


def test_tokens_inside_a_nested_model():
    inner = transformer(1)
    inputs = keras.Input(inner.input_shape[1:])
    model = keras.Model(inputs, layers.LayerNormalization()(inner(layers.Rescaling(2.0)(inputs))))
    assert changed_cells(FeatureExtractor(model, PATCH), 1, 3) == [[1, 3]]


def test_a_model_that_ends_otherwise_has_no_tokens():
    model = transformer(1)
    classifier = keras.Model(model.input, layers.GlobalAveragePooling1D()(model.output))
    assert sorted(measure_strides(classifier)) == [1]


def test_images_of_any_size_have_no_tokens():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Reshape((-1, 3))(layers.AveragePooling2D(PATCH)(inputs)))
    assert sorted(measure_strides(model)) == [1, PATCH]


def test_windows_are_no_map():
    """Four windows of four cells each look like an image of half the size."""
    inputs = keras.Input((8, 8, 3))
    windows = Windows()(layers.Rescaling(2.0)(inputs))
    assert sorted(measure_strides(keras.Model(inputs, windows))) == [1]


def counting(size, count):
    """A model of square images that ends in a number of tokens."""
    inputs = keras.Input((size, size, 3))
    first = layers.Lambda(lambda x: x[:, :count, 0], output_shape=(count, 3))
    return keras.Model(inputs, first(inputs))


@pytest.mark.parametrize(
    ("count", "strides"),
    [(36, [10]), (41, [10]), (42, []), (30, [12]), (24, []), (14, [20]), (9, []), (5, [30])],
)
def test_numbers_of_tokens(count, strides):
    """Of 60 × 60: 36 patches of 10, 25 of 12, 9 of 20, 4 of 30, and up to five before them."""
    assert sorted(measure_strides(counting(60, count))) == [1, *strides]


def test_numbers_that_leave_the_stride_in_doubt():
    """Nine patches of 4 × 4, or four of 6 × 6 after five other tokens."""
    model = counting(12, 9)
    assert sorted(measure_strides(model)) == [1]
    with pytest.raises(ValueError, match=r"Tokens of shape \(None, 9, 3\) could be .* \[4, 6\]"):
        FeatureExtractor(model, 4)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"height": 0}, "height"),
        ({"width": 2.0}, "width"),
        ({"num_prefix_tokens": -1}, "num_prefix_tokens"),
        ({"data_format": "channels"}, "data_format"),
    ],
)
def test_bad_arguments(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        TokensToMap(**{"height": 2, "width": 3, **arguments})


@pytest.mark.parametrize("shape", [(2, 6, 4), (2, 7), (2, 7, 4, 1)])
def test_other_shapes(shape):
    with pytest.raises(ValueError, match=r"`inputs` must be tokens of shape \(B, 7, C\), 2 × 3"):
        TokensToMap(2, 3, num_prefix_tokens=1)(np.zeros(shape, "float32"))
