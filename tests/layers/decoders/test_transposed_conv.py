import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx import plugins
from keras_cvx.layers import TransposedConvDecoder


def as_numpy(x):
    return ops.convert_to_numpy(x)


def images(height, width, batch=1):
    return np.zeros((batch, height, width, 3), "float32")


def maps_of(strides, height, width, channels=3, batch=1, seed=0):
    rng = np.random.default_rng(seed)
    sizes = [(-(-height // s), -(-width // s)) for s in strides]
    return [rng.normal(size=(batch, *size, channels)).astype("float32") for size in sizes]


def coordinates(stride, height, width, rounding):
    """A map whose cells say where their middles are in the image: x, y and 1."""
    rows, columns = np.mgrid[: rounding(height / stride), : rounding(width / stride)]
    x, y = ((i + 0.5) * stride for i in (columns, rows))
    return np.stack([x, y, np.ones_like(x)], -1).astype("float32")[None]


def set_identity(decoder, share):
    """Scores are the map's channels, each level's a share of the sum."""
    for layer in decoder._scorers:
        kernel, bias = layer.get_weights()
        layer.set_weights([share * np.eye(len(bias)).reshape(kernel.shape), 0 * bias])


@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_empty_batch(fusion):
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow's 1×1 convolution of an empty batch has wrong channels")
    decoder = TransposedConvDecoder(5, [2, 4], fusion=fusion)
    assert decoder(maps_of([2, 4], 8, 12, batch=0), images(8, 12, 0)).shape == (0, 8, 12, 5)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(50, 75),
    st.integers(50, 75),
    st.sampled_from([np.floor, np.ceil]),
    st.sampled_from(["bilinear", "fixed"]),
    st.sampled_from([[8], [16], [4, 8], [2, 4, 16]]),
)
def test_every_pixel_is_where_it_was(height, width, rounding, upsampling, strides):
    """Maps are painted with their cells' places; interpolated, each pixel must say its own."""
    decoder = TransposedConvDecoder(3, strides, upsampling=upsampling)
    maps = [coordinates(s, height, width, lambda x: int(rounding(x))) for s in strides]
    decoder(maps, images(height, width))
    set_identity(decoder, 1 / len(strides))
    got = as_numpy(decoder(maps, images(height, width)))[0]
    assert got.shape == (height, width, 3)
    # What is constant is so up to the border.
    np.testing.assert_allclose(got[..., 2], 1, rtol=0, atol=1e-5)
    # Nothing is known past the middles of the outermost cells, nor what is interpolated from there.
    margin, last = strides[-1], 2 * strides[-1]
    y, x = np.mgrid[margin : height - last, margin : width - last] + 0.5
    inside = got[margin : height - last, margin : width - last]
    np.testing.assert_allclose(inside[..., 0], x, rtol=0, atol=1e-3)
    np.testing.assert_allclose(inside[..., 1], y, rtol=0, atol=1e-3)


@pytest.mark.parametrize("stride", [3, 5])
@pytest.mark.parametrize("upsampling", ["bilinear", "fixed"])
def test_odd_strides_keep_their_place_too(stride, upsampling):
    decoder = TransposedConvDecoder(3, [stride], upsampling=upsampling)
    maps = [coordinates(stride, 30, 45, int)]
    decoder(maps, images(30, 45))
    set_identity(decoder, 1.0)
    got = as_numpy(decoder(maps, images(30, 45)))[0, stride:-stride, stride:-stride]
    y, x = np.mgrid[stride : 30 - stride, stride : 45 - stride] + 0.5
    np.testing.assert_allclose(got[..., 0], x, rtol=0, atol=1e-3)
    np.testing.assert_allclose(got[..., 1], y, rtol=0, atol=1e-3)


@pytest.mark.parametrize("upsampling", ["bilinear", "fixed"])
def test_fcn8s_by_hand(upsampling):
    strides, scales = [8, 16, 32], [0.5, 0.25]
    decoder = TransposedConvDecoder(4, strides, upsampling=upsampling, skip_scales=scales)
    maps, picture = maps_of(strides, 64, 96, batch=2), images(64, 96, 2)
    got = as_numpy(decoder(maps, picture))

    def doubled(x, factor):
        size = tuple(factor * side for side in x.shape[1:3])
        return as_numpy(ops.image.resize(x, size, "bilinear", data_format="channels_last"))

    scores = [
        scale * x @ layer.get_weights()[0][0, 0] + layer.get_weights()[1]
        for x, layer, scale in zip(maps, decoder._scorers, [*scales, 1.0], strict=True)
    ]
    expected = doubled(doubled(doubled(scores[2], 2) + scores[1], 2) + scores[0], 8)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def dense_transposed(x, kernel, bias, factor):
    """A transposed convolution by its definition: each cell adds its kernel where it reaches."""
    side, _, filters, _ = kernel.shape
    height, width = ((n - 1) * factor + side for n in x.shape[1:3])
    result = np.zeros((len(x), height, width, filters)) + bias
    for row, column in np.ndindex(*x.shape[1:3]):
        rows, columns = (slice(k * factor, k * factor + side) for k in (row, column))
        result[:, rows, columns] += np.einsum("bc,ijoc->bijo", x[:, row, column], kernel)
    return result


def convolved(x, kernel):
    """A 3×3 convolution as loops over its kernel, zeros outside."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    return sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in np.ndindex(3, 3))


@pytest.mark.parametrize("upsampling", ["learned", "fixed"])
def test_unet_by_hand(upsampling):
    """Upsampled, beside the finer map, twice convolved, normalized and cut at 0; level by level."""
    strides = [2, 4, 8]
    decoder = TransposedConvDecoder(
        4, strides, fusion="concat", upsampling=upsampling, filters=[5, 6]
    )
    maps, picture = maps_of(strides, 16, 24, batch=2), images(16, 24, 2)
    decoder(maps, picture)
    rng = np.random.default_rng(1)
    # Means, variances and biases too, which begin as 0 and 1.
    decoder.set_weights([rng.uniform(0.1, 0.9, w.shape) - 0.4 * (w.ndim > 1) for w in
                         decoder.get_weights()])  # fmt: skip
    got = as_numpy(decoder(maps, picture))

    def upsampled(i, x):
        factor = 2
        if upsampling == "fixed":
            size = tuple(factor * side for side in x.shape[1:3])
            x = x.astype("float32")
            return as_numpy(ops.image.resize(x, size, "bilinear", data_format="channels_last"))
        kernel, bias = decoder._upsamplers[i].get_weights()
        # Continued by its outermost cells, whose own pixels are cut off again.
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        first = factor + (len(kernel) - factor) // 2
        return dense_transposed(x, kernel, bias, factor)[:, first:-first, first:-first]

    def passed(block, x):
        convolutions, normalizations = block.layers[0::3], block.layers[1::3]
        for layer, norm in zip(convolutions, normalizations, strict=True):
            gamma, beta, mean, variance = norm.get_weights()
            x = convolved(x, *layer.get_weights())
            x = np.maximum(gamma * (x - mean) / np.sqrt(variance + norm.epsilon) + beta, 0)
        return x

    x = maps[2].astype("float64")
    for i in (1, 0):
        x = passed(decoder._blocks[i], np.concatenate([maps[i], upsampled(i + 1, x)], -1))
    if upsampling == "fixed":
        kernel, bias = decoder._scorers[0].get_weights()
        x = x @ kernel[0, 0] + bias
    expected = upsampled(0, x)
    assert expected.shape == got.shape
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fusion", ["sum", "concat"])
@pytest.mark.parametrize("upsampling", ["bilinear", "learned", "fixed"])
@pytest.mark.parametrize("level", [0, 1])
def test_a_hot_cell_shows_up_at_its_place(fusion, upsampling, level):
    strides = [4, 8]
    decoder = TransposedConvDecoder(3, strides, fusion=fusion, upsampling=upsampling)
    maps, picture = maps_of(strides, 96, 128), images(96, 128)
    before = as_numpy(decoder(maps, picture))
    changed = [x.copy() for x in maps]
    row, column = (13, 17) if level == 0 else (6, 8)
    changed[level][0, row, column] += 1
    difference = np.abs(as_numpy(decoder(changed, picture)) - before).max(-1)[0]
    rows, columns = np.nonzero(difference > 1e-6)
    # What the kernels and, of concatenated maps, two convolutions at stride 4 reach.
    reach = strides[level] // 2 + (2 if level == 0 else 6) + (8 if fusion == "concat" else 0)
    stride = strides[level]
    for places, at in ((rows, row), (columns, column)):
        assert len(places)
        assert places.min() >= at * stride - reach
        assert places.max() < (at + 1) * stride + reach
        # The one side as the other: no shift.
        middle = (places.min() + places.max() + 1) / 2
        assert abs(middle - (at + 0.5) * stride) <= 0.5


@pytest.mark.parametrize(
    ("name", "strides", "fusion"),
    [
        ("fcn32s", [32], "sum"),
        ("fcn16s", [16, 32], "sum"),
        ("fcn8s", [8, 16, 32], "sum"),
        ("unet", [2, 4, 8, 16, 32], "concat"),
    ],
)
def test_settings_by_name(name, strides, fusion):
    decoder = plugins.lookup(name, "decoder")(num_classes=7, upsampling="fixed")
    assert type(decoder) is TransposedConvDecoder
    settings = decoder.num_classes, decoder.strides, decoder.fusion, decoder.upsampling
    assert settings == (7, strides, fusion, "fixed")


def test_fixed_interpolation_has_no_weights_of_its_own():
    counts = {}
    for upsampling in ("bilinear", "fixed"):
        decoder = TransposedConvDecoder(5, [8, 16], upsampling=upsampling)
        decoder(maps_of([8, 16], 32, 32), images(32, 32))
        counts[upsampling] = decoder.count_params()
    scorers = 2 * (3 * 5 + 5)
    assert counts == {"fixed": scorers, "bilinear": scorers + (4 * 4 + 16 * 16) * 25}


def test_one_map_without_a_list():
    decoder = TransposedConvDecoder(5, 4)
    [x] = maps_of([4], 10, 13)
    np.testing.assert_array_equal(
        as_numpy(decoder(x, images(10, 13))), as_numpy(decoder([x], images(10, 13)))
    )


@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_channels_first(fusion):
    last = TransposedConvDecoder(5, [2, 4], fusion=fusion, data_format="channels_last")
    first = TransposedConvDecoder(5, [2, 4], fusion=fusion, data_format="channels_first")
    maps, picture = maps_of([2, 4], 11, 14), images(11, 14)
    expected = as_numpy(last(maps, picture))
    maps, picture = ([np.moveaxis(x, -1, 1) for x in xs] for xs in (maps, [picture]))
    first(maps, picture[0])
    first.set_weights(last.get_weights())
    np.testing.assert_array_equal(as_numpy(first(maps, picture[0])), expected)


@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_sizes_that_are_known_only_when_it_runs(fusion):
    inputs = keras.Input((None, None, 3))
    maps = [keras.layers.AveragePooling2D(s, padding="same")(inputs) for s in (2, 4)]
    model = keras.Model(inputs, TransposedConvDecoder(5, [2, 4], fusion=fusion)(maps, inputs))
    assert model.output_shape == (None, None, None, 5)
    rng = np.random.default_rng(0)
    for size in ((8, 12), (9, 13)):
        x = rng.normal(size=(2, *size, 3)).astype("float32")
        got = model.predict(x, verbose=0)
        assert got.shape == (2, *size, 5)
        np.testing.assert_allclose(got, as_numpy(model(x)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": []}, "`strides` must rise"),
        ({"strides": [8, 4]}, "`strides` must rise, each a multiple"),
        ({"strides": [4, 6]}, "`strides` must rise, each a multiple"),
        ({"kernel_sizes": [16]}, "`kernel_sizes` must be a list of 2 integers"),
        ({"kernel_sizes": [18, 4]}, r"multiples of the factors \[8, 2\].*checkerboard"),
        ({"kernel_sizes": [8, 4]}, "at least twice as large"),
        ({"kernel_sizes": [6], "strides": [3]}, "half a pixel off"),
        ({"kernel_sizes": [16, 4], "upsampling": "fixed"}, "which has no kernels"),
        ({"filters": [16]}, "`filters` must be None with fusion='sum'"),
        ({"filters": [16, 32], "fusion": "concat"}, "`filters` must be a list of 1 numbers"),
        ({"skip_scales": [0.5], "fusion": "concat"}, "`skip_scales` must be None with"),
        ({"fusion": "product"}, "`fusion` must be one of"),
        ({"upsampling": "nearest"}, "`upsampling` must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TransposedConvDecoder(**{"num_classes": 5, "strides": [8, 16], **arguments})


def test_bad_maps():
    decoder = TransposedConvDecoder(5, [8, 16])
    with pytest.raises(ValueError, match=r"`features` must be one feature map of rank 4 for each"):
        decoder(maps_of([8], 32, 32), images(32, 32))
    with pytest.raises(ValueError, match=r"`features` must be one feature map of rank 4 for each"):
        decoder([x[0] for x in maps_of([8, 16], 32, 32)], images(32, 32))
    for strides in ([4, 8], [16, 32], [4, 16]):
        with pytest.raises(ValueError, match=r"`features` must be maps of the strides \[8, 16\]"):
            decoder(maps_of(strides, 160, 320), images(160, 320))
