import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.ops import _arrays, _kernels, pad, resize
from keras_cvx.ops.resizing import INTERPOLATIONS, saturate, taps

METHODS = [(name, antialias) for name in INTERPOLATIONS for antialias in (False, True)]
# Source and target: smaller, larger, one axis of each, a single pixel from many and many from one.
SIZES = [
    ((37, 53), (20, 30)),
    ((37, 53), (81, 90)),
    ((37, 20), (5, 57)),
    ((12, 12), (1, 1)),
    ((1, 1), (3, 4)),
    ((2, 1999), (2, 700)),
    ((2, 1999), (3, 2500)),
    ((64, 64), (63, 63)),
]
RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.uniform(0, 255, shape).astype("float32")


def of_tensorflow(images, size, interpolation="bilinear", antialias=False):
    tf = pytest.importorskip("tensorflow")
    return tf.image.resize(images, size, method=interpolation, antialias=antialias).numpy()


@pytest.fixture(params=["opencv", "without"])
def opencv(request, monkeypatch):
    if request.param == "opencv":
        pytest.importorskip("cv2")
    else:
        monkeypatch.setattr(_kernels, "_opencv", lambda: None)


@pytest.mark.parametrize(("interpolation", "antialias"), METHODS)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_no_images(as_kind, interpolation, antialias, dtype):
    images = as_kind(np.zeros((0, 5, 7, 3), dtype))
    resized = resize(images, (4, 9), interpolation=interpolation, antialias=antialias)
    assert resized.shape == (0, 4, 9, 3)
    assert resized.dtype == images.dtype
    assert pad(images, (4, 9), (0, 1), 3).shape == (0, 4, 9, 3)


@pytest.mark.parametrize(("interpolation", "antialias"), METHODS)
def test_pixels_of_tensorflow(as_kind, interpolation, antialias):
    for source, size in SIZES:
        images = noise(2, *source, 3)
        expected = of_tensorflow(images, size, interpolation, antialias)
        got = resize(as_kind(images), size, interpolation=interpolation, antialias=antialias)
        np.testing.assert_allclose(
            np.asarray(got), expected, rtol=0, atol=1e-3 if as_kind.exact else 1e-2
        )


@pytest.mark.parametrize(("interpolation", "antialias"), METHODS)
@settings(max_examples=15, deadline=None)
@given(sizes=st.tuples(*[st.integers(1, 80)] * 4))
def test_pixels_of_tensorflow_from_and_to_any_size(interpolation, antialias, sizes):
    images = noise(*sizes[:2], 1)
    got = resize(images, sizes[2:], interpolation=interpolation, antialias=antialias)
    expected = of_tensorflow(images, sizes[2:], interpolation, antialias)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3)


@pytest.mark.usefixtures("opencv")
@pytest.mark.parametrize(("interpolation", "antialias"), METHODS)
def test_uint8_within_one_grey_level(as_kind, interpolation, antialias):
    # Black and white, so that the kernels with negative lobes overshoot.
    images = (RNG.integers(0, 2, (2, 37, 53, 3)) * 255).astype("uint8")
    for size in ((20, 30), (81, 90)):
        expected = of_tensorflow(images, size, interpolation, antialias)
        got = np.asarray(
            resize(as_kind(images), size, interpolation=interpolation, antialias=antialias)
        )
        assert got.dtype == "uint8"
        rounded = np.clip(np.rint(expected), 0, 255)
        assert np.abs(got - rounded).max() <= 1
        if interpolation not in {"nearest", "bilinear"} and size == (81, 90):
            assert expected.min() < -5
            assert expected.max() > 260


def test_floats_are_not_left_to_opencv(monkeypatch):
    monkeypatch.setattr(_kernels, "_opencv", lambda: pytest.fail("OpenCV is asked"))
    for dtype in ("float16", "float32", "float64", "int32"):
        assert resize(np.ones((4, 6, 3), dtype), (5, 3)).dtype == dtype


@pytest.mark.usefixtures("opencv")
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 600])
def test_channels(channels):
    images = RNG.integers(0, 256, (9, 11, channels)).astype("uint8")
    expected = np.rint(of_tensorflow(images, (7, 13)))
    got = resize(images, (7, 13))
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1


@pytest.mark.usefixtures("opencv")
def test_views_of_numpy_arrays():
    images = RNG.integers(0, 256, (3, 9, 11)).astype("uint8")
    for view in (np.moveaxis(images, 0, -1), np.moveaxis(images, 0, -1)[::-1, ::2]):
        np.testing.assert_array_equal(resize(view, (5, 6)), resize(view.copy(), (5, 6)))


@pytest.mark.parametrize(
    ("dtype", "interpolation"),
    [
        *itertools.product(
            ["float16", "bfloat16", "int8", "int32"], ["nearest", "bilinear", "bicubic"]
        ),
        ("bool", "nearest"),
    ],
)
def test_dtype_stays(as_kind, dtype, interpolation):
    images = RNG.integers(0, 2, (9, 11, 3)).astype("float32")
    if dtype == "bfloat16":
        if as_kind.kind == "numpy":
            pytest.skip("NumPy has no bfloat16")
        images = _arrays.namespace(as_kind(images)).cast(as_kind(images), dtype)
    else:
        images = as_kind(images.astype(dtype))
    got = resize(images, (5, 6), interpolation=interpolation)
    assert got.shape == (5, 6, 3)
    assert got.dtype == images.dtype
    as_float = _arrays.namespace(got).cast(got, "float32")
    expected = resize(
        np.asarray(_arrays.namespace(images).cast(images, "float32")),
        (5, 6),
        interpolation=interpolation,
    )
    # A grey level for integers, half precision for the others.
    tolerance = 0.01 if "float" in dtype else 0.501
    np.testing.assert_allclose(np.asarray(as_float), expected, atol=tolerance)


def test_a_batch_is_its_images(as_kind):
    images = noise(3, 9, 11, 2)
    for interpolation, antialias in METHODS:
        options = {"interpolation": interpolation, "antialias": antialias}
        batch = np.asarray(resize(as_kind(images), (5, 17), **options))
        ones = [np.asarray(resize(as_kind(image), (5, 17), **options)) for image in images]
        np.testing.assert_allclose(batch, np.stack(ones), atol=1e-4)


def test_same_size_is_the_same_image():
    images = noise(9, 11, 2)
    for interpolation in INTERPOLATIONS:
        assert resize(images, (9, 11), interpolation=interpolation) is images


@pytest.mark.parametrize(("interpolation", "antialias"), METHODS[2:])
@pytest.mark.parametrize(("count", "out"), [(1, 7), (7, 1), (5, 3), (2000, 3), (3, 2000)])
def test_weights_sum_to_one_and_come_from_the_line(interpolation, antialias, count, out):
    places, weights = taps(count, out, interpolation, antialias)
    assert places.shape == weights.shape
    assert places.shape[1] == out
    np.testing.assert_allclose(weights.sum(0), 1, atol=1e-5)
    assert places.min() >= 0
    assert places.max() < count


@pytest.mark.parametrize(("interpolation", "antialias"), METHODS)
def test_compiled(compiled, interpolation, antialias):
    def resized(x):
        return resize(x, (5, 13), interpolation=interpolation, antialias=antialias)

    images = ops.convert_to_tensor(noise(2, 7, 9, 1))
    expected = ops.convert_to_numpy(resized(images))
    assert expected.std() > 10
    got = ops.convert_to_numpy(compiled(resized)(images))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize(("interpolation", "antialias"), METHODS)
def test_the_gradient_is_that_of_tensorflow(gradient, interpolation, antialias):
    tf = pytest.importorskip("tensorflow")
    # Up and down at once, both ways round.
    for source, size in (((7, 9), (5, 13)), ((6, 11), (15, 4))):
        images = noise(2, *source, 2)
        weights = RNG.normal(size=(2, *size, 2)).astype("float32")
        options = {"method": interpolation, "antialias": antialias}
        given = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(given)
            summed = tf.reduce_sum(tf.image.resize(given, size, **options) * weights)
        expected = tape.gradient(summed, given).numpy()
        assert np.abs(expected).max() > 0.5

        def weighted(x, size=size, weights=weights):
            resized = resize(x, size, interpolation=interpolation, antialias=antialias)
            return ops.sum(ops.multiply(resized, weights))

        value, slope = gradient(weighted, images)
        np.testing.assert_allclose(slope, expected, rtol=0, atol=1e-4)
        assert value == pytest.approx(float(summed), rel=1e-3, abs=1e-1)


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 6)] * 4),
    offset=st.tuples(*[st.integers(-8, 8)] * 2),
    batch=st.sampled_from([(), (2,)]),
)
def test_padding_is_a_window_on_a_wide_canvas(sizes, offset, batch):
    (height, width), target = sizes[:2], sizes[2:]
    images = np.arange(1, 1 + 2 * height * width, dtype="int32").reshape(height, width, 2)
    images = np.broadcast_to(images, (*batch, height, width, 2))
    canvas = np.full((*batch, 40, 40, 2), -5, "int32")
    canvas[..., 20 : 20 + height, 20 : 20 + width, :] = images
    top, left = (20 - low for low in offset)
    expected = canvas[..., top : top + target[0], left : left + target[1], :]
    np.testing.assert_array_equal(pad(images, target, offset, -5), expected)


@pytest.mark.parametrize("offset", [(0, 0), (2, -1), (-1, 3), (9, 0), (-9, 1)])
def test_padding_of_every_kind(as_kind, offset):
    images = noise(2, 3, 4, 2)
    expected = pad(images, (5, 6), offset, 7.5)
    got = pad(as_kind(images), (5, 6), offset, 7.5)
    np.testing.assert_array_equal(np.asarray(got), expected)


@pytest.mark.parametrize(
    ("dtype", "fill", "filled"),
    [("uint8", 114.0, 114), ("uint8", 1.6, 2), ("int32", -3.0, -3), ("float32", -0.5, -0.5)],
)
def test_fill_value_in_the_dtype_of_the_image(as_kind, dtype, fill, filled):
    got = pad(as_kind(np.zeros((1, 1, 1), dtype)), (1, 2), (0, 0), fill)
    assert np.asarray(got).ravel().tolist() == [0, filled]


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [("uint8", -1), ("uint8", 255.5), ("int8", 255), ("bool", 255), ("int32", float("nan"))],
)
def test_fill_value_out_of_range(as_kind, dtype, fill):
    with pytest.raises(ValueError, match="`fill_value`"):
        pad(as_kind(np.zeros((1, 1, 1), dtype)), (1, 2), (0, 0), fill)


def test_saturate(as_kind):
    x = as_kind(np.float32([-1e30, -0.5, 0.5, 1.5, 254.6, 1e30]))
    assert np.asarray(saturate(x, "uint8")).tolist() == [0, 0, 0, 2, 255, 255]
    assert np.asarray(saturate(x, "int8")).tolist() == [-128, 0, 0, 2, 127, 127]
    limits = np.asarray(saturate(x, "int32"))[[0, -1]].tolist()
    # The last float32 below 2 ** 31.
    assert limits == [-(2**31), 2**31 - 128]
    assert saturate(x, "float32") is x


@pytest.mark.parametrize("argument", ["images", "height", "width", "interpolation"])
def test_bad_input(as_kind, argument):
    wrong = {
        "images": [((3, 3), (2, 2)), ((1, 1, 3, 3, 1), (2, 2)), ((0, 3, 1), (2, 2))],
        "height": [((3, 3, 1), (0, 2)), ((3, 3, 1), (-1, 2))],
        "width": [((3, 3, 1), (2, 0))],
        "interpolation": [((3, 3, 1), (2, 2))],
    }
    name = "area" if argument == "interpolation" else "bilinear"
    for shape, size in wrong[argument]:
        with pytest.raises(ValueError, match=f"`{argument}`"):
            resize(as_kind(np.zeros(shape, "float32")), size, interpolation=name)


def test_sizes_that_tensorflow_knows_when_it_runs():
    tf = pytest.importorskip("tensorflow")
    images = noise(9, 11, 3)
    spec = tf.TensorSpec((None, None, 3), "float32")
    for interpolation, antialias in METHODS:

        @tf.function(input_signature=[spec, tf.TensorSpec((2,), "int32")])
        def resized(x, size, name=interpolation, smooth=antialias):
            return resize(x, (size[0], size[1]), interpolation=name, antialias=smooth)

        for size in ((5, 17), (12, 3)):
            got = resized(images, tf.constant(size)).numpy()
            expected = resize(images, size, interpolation=interpolation, antialias=antialias)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
def test_dtypes_without_a_kernel_of_tensorflow(dtype):
    tf = pytest.importorskip("tensorflow")
    images = (np.arange(24).reshape(4, 6, 1) * (2**27 + 1) % 2**32).astype(dtype)
    expected = resize(images, (3, 4), interpolation="nearest")
    got = resize(tf.constant(images), (3, 4), interpolation="nearest")
    np.testing.assert_array_equal(got.numpy(), expected)
    small = (images % 251).astype(dtype)
    got = resize(tf.constant(small), (3, 4))
    np.testing.assert_array_equal(got.numpy(), resize(small, (3, 4)))


def test_no_channels():
    assert resize(np.zeros((6, 9, 0), "uint8"), (3, 4)).shape == (3, 4, 0)
