"""Window by window, a convolutionalized classifier gives what the classifier gives the crop."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from keras_cvx.backbones import convolutionalize


def images(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


def run(model, x):
    return ops.convert_to_numpy(model(x))


def shaken(model):
    """The model with weights that no initializer gives: biases and statistics are not zero."""
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if "seed" not in variable.name:
            low, high = (0.5, 1.5) if "variance" in variable.name else (-0.3, 0.3)
            noise = rng.uniform(low, high, variable.shape)
            replaced = "variance" in variable.name
            variable.assign(noise if replaced else ops.convert_to_numpy(variable.value) + noise)
    return model


def on_windows(classifier, x, stride):
    """The oracle: every crop of the images, one after the other, `(B, H', W', K)`."""
    height, width = classifier.input_shape[1:3]
    rows = range(0, x.shape[1] - height + 1, stride[0])
    columns = range(0, x.shape[2] - width + 1, stride[1])
    crops = [x[:, i : i + height, j : j + width] for i in rows for j in columns]
    scores = run(classifier, np.concatenate(crops))
    scores = scores.reshape(len(rows), len(columns), len(x), -1)
    return np.moveaxis(scores, 2, 0)


def strides_of(model):
    return model.get_layer("windows").strides


def assert_slides(classifier, extra=(9, 14), tolerance=1e-5):
    """On the training size and on a larger image, to the tolerance."""
    model = convolutionalize(classifier)
    height, width, channels = classifier.input_shape[1:]
    x = images(2, height, width, channels)
    expected = run(classifier, x)
    got = run(model, x)
    assert got.shape == (2, 1, 1, expected.shape[-1])
    np.testing.assert_allclose(got.reshape(2, -1), expected.reshape(2, -1), atol=tolerance)
    x = images(2, height + extra[0], width + extra[1], channels)
    expected = on_windows(classifier, x, strides_of(model))
    got = run(model, x)
    assert model.compute_output_shape(x.shape) == got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=tolerance)
    return model


def body(inputs):
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.MaxPooling2D(2)(x)
    x = layers.BatchNormalization()(x)
    return layers.Conv2D(5, 3, activation="tanh")(x)


def classifier_of(head, size=(16, 18)):
    inputs = keras.Input((*size, 3))
    return shaken(keras.Model(inputs, head(body(inputs))))


def flattened(x):
    x = layers.Flatten()(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Activation("sigmoid")(x)
    x = layers.Dense(6, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.5)(x)
    return layers.Dense(4, activation="softmax")(x)


def pooled(x):
    return layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def kept_dimensions(x):
    x = layers.GlobalMaxPooling2D(keepdims=True)(x)
    x = layers.Conv2D(6, 1, activation="relu")(x)
    x = layers.Conv2D(4, 1)(x)
    return layers.Activation("softmax")(layers.Reshape((4,))(layers.Flatten()(x)))


def one_cell(x):
    return layers.Softmax()(layers.Conv2D(4, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x)))


def branches(x):
    pools = layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)
    x = layers.LayerNormalization()(layers.Concatenate()(pools))
    x = layers.Add()([layers.Dense(4)(x), layers.Dense(4, use_bias=False)(x)])
    return ops.softmax(x, axis=1)


def both(x):
    vector = layers.Dense(3)(layers.Flatten()(x))
    return layers.Dense(4)(layers.Concatenate()([vector, layers.GlobalMaxPooling2D()(x)]))


def bare_pooling(x):
    return layers.GlobalAveragePooling2D()(x)


def bare_dense(x):
    return layers.Dense(4, activation="softmax")(layers.Flatten()(x))


HEADS = [flattened, pooled, kept_dimensions, one_cell, branches, both, bare_pooling, bare_dense]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.__name__)
def test_heads(head):
    assert_slides(classifier_of(head))


@settings(max_examples=4 if keras.backend.backend() == "jax" else 12, deadline=None)
@given(
    convolutions=st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 2), st.sampled_from(["conv", "max", "mean"])),
        min_size=1,
        max_size=3,
    ),
    head=st.sampled_from([flattened, pooled, branches]),
    spare=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    extra=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_networks_without_padding_slide_exactly(convolutions, head, spare, extra):
    # A last map of 2 × 2 cells and what the strides leave over.
    size = 2
    for kernel, stride, _ in reversed(convolutions):
        size = (size - 1) * stride + max(kernel, stride)
    inputs = x = keras.Input((size + spare[0], size + spare[1], 2))
    for kernel, stride, kind in convolutions:
        if kind == "conv":
            x = layers.Conv2D(3, max(kernel, stride), stride, activation="tanh")(x)
        else:
            pooling = layers.MaxPooling2D if kind == "max" else layers.AveragePooling2D
            x = pooling(max(kernel, stride), stride)(x)
    assert_slides(shaken(keras.Model(inputs, head(x))), extra)


def test_padding_differs_at_borders_only():
    """What a padded network gives a window is the crop's but for what the padding reaches."""
    inputs = keras.Input((16, 16, 1))
    x = layers.Conv2D(3, 3, padding="same", activation="relu")(inputs)
    x = layers.MaxPooling2D(2)(x)
    classifier = shaken(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    dense = classifier.layers[-1]
    x = images(1, 24, 24, 1)
    got = run(convolutionalize(classifier), x)
    assert got.shape == (1, 5, 5, 2)
    kernel = ops.convert_to_numpy(dense.kernel).copy()
    assert np.abs(got - on_windows(classifier, x, (2, 2))).max() > 1e-3
    # Without the outermost cells of the feature map, which alone the padding reaches, they agree.
    inner = np.zeros((8, 8, 3, 1))
    inner[1:-1, 1:-1] = 1
    dense.kernel.assign(kernel * inner.reshape(-1, 1))
    got = run(convolutionalize(classifier), x)
    np.testing.assert_allclose(got, on_windows(classifier, x, (2, 2)), atol=1e-5)


@pytest.mark.parametrize("size", [16, 17])
def test_padding_is_that_of_the_window_on_images_of_any_size(size):
    """`"same"` pads an odd side otherwise than an even one, and would shift all cells."""
    inputs = keras.Input((size, size, 2))
    x = layers.Conv2D(3, 3, 2, padding="same", activation="tanh")(inputs)
    x = layers.Concatenate()([x, layers.MaxPooling2D(2, padding="same")(inputs)])
    x = layers.Cropping2D(1)(x)
    classifier = shaken(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    assert_slides(classifier, extra=(1, 2))


def test_a_pooling_that_pads_beside_one_that_does_not():
    """Of 17 pixels one keeps 9 and the other 8, of 18 both keep 9."""
    inputs = keras.Input((17, 17, 2))
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(2)(inputs))
    y = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(2, padding="same")(inputs))
    classifier = keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([x, y])))
    model = convolutionalize(shaken(classifier))
    assert model.compute_output_shape((1, 18, 19, 2)) == (1, 1, 2, 3)
    x = images(1, 18, 18, 2)
    np.testing.assert_allclose(run(model, x)[:, 0, 0], run(classifier, x[:, :17, :17]), atol=1e-5)


def test_images_smaller_than_the_window():
    model = convolutionalize(classifier_of(flattened))
    message = "`images` must be at least as large as the window, 16 × 18 pixels. Received: 16 × 12"
    for call in (model, lambda x: model.predict(x, verbose=0)):
        with pytest.raises(ValueError, match=message):
            call(images(1, 16, 12, 3))
    with pytest.raises(ValueError, match=message):
        model.compute_output_shape((None, 16, 12, 3))


def test_layers_of_one_name():
    """A loaded model's layers keep names that the new ones around them have too."""
    inputs = keras.Input((16, 18, 3))
    x = layers.Conv2D(4, 3, 2, name="windows")(layers.Rescaling(2.0, name="same")(inputs))
    nested = keras.Model(inputs, layers.AveragePooling2D(2, 1, name="pool_of_windows")(x))
    inputs = keras.Input((16, 18, 3))
    x = nested(layers.Rescaling(0.5, 0.1, name="same")(inputs))
    x = layers.Activation("tanh", name="images")(x)
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    x = layers.Dense(5, "relu", name="cells")(x)
    classifier = shaken(keras.Model(inputs, layers.Dense(3, name="vector_0")(x)))
    names = [layer.name for layer in classifier.layers]
    model = assert_slides(classifier)
    assert names == [layer.name for layer in classifier.layers]
    assert {v.path for v in model.variables} == {v.path for v in classifier.variables}
    assert strides_of(model) == (2, 2)


def test_dropout_that_is_always_on_stays_on():
    inputs = keras.Input((8, 8, 1))
    x = layers.Dropout(0.5)(layers.Flatten()(inputs), training=True)
    model = convolutionalize(keras.Model(inputs, layers.Dense(3)(x)))
    x = images(1, 8, 8, 1)
    assert np.abs(run(model, x) - run(model, x)).max() > 1e-3


def test_squeeze_and_excitation_stays_in_the_body():
    inputs = keras.Input((16, 16, 2))
    x = layers.Conv2D(4, 3)(inputs)
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Multiply()([x, layers.Conv2D(4, 1, activation="sigmoid")(squeezed)])
    x = layers.GlobalAveragePooling2D()(x)
    classifier = shaken(keras.Model(inputs, layers.Dense(3)(x)))
    model = convolutionalize(classifier)
    x = images(2, 16, 16, 2)
    np.testing.assert_allclose(run(model, x)[:, 0, 0], run(classifier, x), atol=1e-5)
    assert any(isinstance(layer, layers.GlobalAveragePooling2D) for layer in model.layers)
    assert model.compute_output_shape((1, 20, 17, 2)) == (1, 5, 2, 3)


def test_sequential_with_the_head_inside_a_nested_model():
    inner = classifier_of(flattened)
    classifier = keras.Sequential([keras.Input((16, 18, 3)), layers.Rescaling(0.5, 0.1), inner])
    classifier.compile(loss="mse")
    assert_slides(classifier)


@pytest.mark.parametrize("size", [(16, 18), (None, None)])
def test_nested_body(size):
    inputs = keras.Input((*size, 3))
    nested = shaken(keras.Model(inputs, body(inputs), name="body"))
    inputs = keras.Input((16, 18, 3))
    classifier = shaken(keras.Model(inputs, pooled(nested(inputs, training=False))))
    assert_slides(classifier)


def test_a_model_called_twice():
    inputs = keras.Input((8, 8, 3))
    shared = shaken(keras.Model(inputs, layers.Conv2D(3, 2, activation="tanh")(inputs)))
    free = keras.Input((None, None, 3))
    shared = keras.Model(free, shared.layers[-1](free))
    inputs = keras.Input((8, 9, 3))
    classifier = keras.Model(inputs, pooled(shared(shared(inputs))))
    assert_slides(shaken(classifier))


def test_weights_are_the_classifiers():
    classifier = classifier_of(flattened)
    model = convolutionalize(classifier)
    assert {id(v) for v in model.trainable_variables} == {
        id(v) for v in classifier.trainable_variables
    }
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse")
    before = run(classifier, images(1, 16, 18, 3))
    model.fit(images(2, 20, 20, 3), np.ones((2, 3, 2, 4), "float32"), verbose=0)
    assert np.abs(run(classifier, images(1, 16, 18, 3)) - before).max() > 1e-4
    assert_slides(classifier)


def test_saved_and_loaded(tmp_path):
    for index, head in enumerate((flattened, branches)):
        model = convolutionalize(classifier_of(head))
        model.save(tmp_path / f"{index}.keras")
        loaded = keras.saving.load_model(tmp_path / f"{index}.keras")
        x = images(2, 21, 24, 3)
        np.testing.assert_allclose(run(loaded, x), run(model, x), atol=1e-6)


def test_compiled(compiled):
    model = convolutionalize(classifier_of(flattened))
    x = images(2, 21, 24, 3)
    got = compiled(lambda x: model(x, training=False))(ops.convert_to_tensor(x))
    np.testing.assert_allclose(ops.convert_to_numpy(got), run(model, x), atol=1e-5)


def test_integer_images():
    inputs = keras.Input((16, 18, 3), dtype="uint8")
    x = body(layers.Rescaling(1 / 255)(inputs))
    classifier = shaken(keras.Model(inputs, pooled(x)))
    model = convolutionalize(classifier)
    assert model.inputs[0].dtype == "uint8"
    x = np.random.default_rng(0).integers(0, 256, (2, 21, 24, 3)).astype("uint8")
    np.testing.assert_allclose(run(model, x), on_windows(classifier, x, (2, 2)), atol=1e-5)


def test_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        classifier = classifier_of(flattened)
    finally:
        keras.config.set_dtype_policy(policy)
    model = convolutionalize(classifier)
    assert model.outputs[0].dtype == classifier.outputs[0].dtype == "bfloat16"
    x = images(2, 16, 18, 3)
    got, expected = (ops.convert_to_numpy(ops.cast(m(x), "float32")) for m in (model, classifier))
    np.testing.assert_allclose(got[:, 0, 0], expected, atol=2e-2)


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="no such kernels on a CPU")
@pytest.mark.parametrize("last", ["flatten", "pool"])
def test_channels_first(last):
    options = {"data_format": "channels_first"}
    inputs = keras.Input((3, 12, 14))
    x = layers.Conv2D(4, 3, 2, activation="relu", **options)(inputs)
    vector = layers.Flatten if last == "flatten" else layers.GlobalAveragePooling2D
    classifier = shaken(keras.Model(inputs, layers.Dense(3)(vector(**options)(x))))
    # Two strides more than the classifier's in either direction.
    x = images(2, 3, 16, 18)
    got = run(convolutionalize(classifier), x)
    assert got.shape == (2, 3, 3, 3)
    for i, j in np.ndindex(3, 3):
        crop = x[:, :, 2 * i : 2 * i + 12, 2 * j : 2 * j + 14]
        np.testing.assert_allclose(got[:, i, j], run(classifier, crop), atol=1e-5)


APPLICATIONS = {"MobileNetV3Small": 64, "VGG16": 64, "ResNet50": 64, "Xception": 96}


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="compiles for minutes")
@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications(name):
    size = APPLICATIONS[name]
    classifier = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=7
    )
    model = convolutionalize(classifier)
    x = 255 * images(1, size, size, 3)
    np.testing.assert_allclose(run(model, x)[:, 0, 0], run(classifier, x), atol=1e-5)
    assert strides_of(model) == (32, 32)


@given(st.tuples(st.integers(1, 600), st.integers(1, 600)), st.sampled_from(["same", "valid"]))
@settings(max_examples=20, deadline=None)
def test_any_stride(strides, padding):
    inputs = keras.Input((700, 650, 1))
    x = layers.MaxPooling2D(strides, padding=padding)(inputs)
    classifier = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    assert strides_of(convolutionalize(classifier)) == strides


class Position(layers.Layer):
    """Adds what it has learnt of each place."""

    def build(self, shape):
        self.position = self.add_weight(shape=(1, *shape[1:]), name="position")
        self.built = True

    def call(self, x):
        return x + self.position


def strides_of_two_kinds(x):
    further = layers.Conv2D(4, 2, 2)(x)
    pools = layers.GlobalAveragePooling2D()(x), layers.GlobalAveragePooling2D()(further)
    return layers.Dense(3)(layers.Concatenate()(pools))


def flattened_twice(x):
    x = layers.Add()([layers.Flatten()(x), layers.Flatten()(layers.ReLU()(x))])
    return layers.Dense(3)(x)


def normalized_vector(x):
    x = layers.Activation(lambda x: x / (1 + ops.max(x, axis=-1, keepdims=True)), name="odd")(x)
    return layers.Dense(2)(x)


def patches(x):
    return layers.GlobalAveragePooling1D()(layers.Reshape((-1, 5))(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Dense(3), "functional or built sequential"),
        (lambda: keras.Sequential([layers.Dense(3)]), "functional or built sequential"),
        (
            lambda: keras.Sequential([keras.Input((5,)), layers.Dense(3)]),
            "one input, a batch of images",
        ),
        (lambda: classifier_of(pooled, (None, None)), "fixed size"),
        (lambda: classifier_of(layers.Dense(3)), "one vector of scores"),
        (lambda: classifier_of(patches), "no spatial feature map"),
        (
            lambda: classifier_of(
                lambda x: layers.Dense(2)(
                    layers.BatchNormalization(name="odd")(layers.Flatten()(x))
                )
            ),
            "'odd', a BatchNormalization",
        ),
        (
            lambda: classifier_of(lambda x: layers.Softmax(name="odd")(layers.Flatten()(x))),
            "'odd', a Softmax",
        ),
        (lambda: classifier_of(layers.Flatten()), "a dense layer after `Flatten`"),
        (lambda: classifier_of(flattened_twice), "'add.*', a Add, which gets the 5 × 6 feature"),
        (lambda: classifier_of(lambda x: normalized_vector(layers.Flatten()(x))), "'odd', a Activ"),
        (lambda: classifier_of(strides_of_two_kinds), r"of the strides \[\(2, 2\), \(4, 4\)\]"),
        (lambda: classifier_of(lambda x: pooled(x)[:, 0]), r"one vector .*\[\(None,\)\]"),
        (lambda: classifier_of(lambda x: pooled(layers.Resizing(8, 8)(x))), "resizes or crops"),
        (
            lambda: classifier_of(lambda x: pooled(layers.Reshape((-1, 5, 5), name="odd")(x))),
            "images of any size",
        ),
        (lambda: classifier_of(lambda x: pooled(Position()(x))), "images of any size"),
        (
            lambda: classifier_of(lambda x: pooled(layers.PReLU(name="odd")(x))),
            r"'odd', which does not: its weight 'odd.*' has the shape of the map, \(5, 6, 5\)",
        ),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=f"(?s)`classifier`.*{message}"):
        convolutionalize(make())


def test_a_quantized_dense_layer():
    classifier = classifier_of(bare_dense)
    model = convolutionalize(classifier)
    classifier.layers[-1].quantize("int8")
    with pytest.raises(ValueError, match="`dense` must not be quantized"):
        model(images(1, 16, 18, 3))
    with pytest.raises(ValueError, match="`dense` must not be quantized"):
        convolutionalize(classifier)


def test_two_outputs_are_refused():
    inputs = keras.Input((16, 18, 3))
    x = body(inputs)
    with pytest.raises(ValueError, match="one output"):
        convolutionalize(keras.Model(inputs, [pooled(x), pooled(x)]))
