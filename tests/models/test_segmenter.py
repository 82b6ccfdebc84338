import json

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_cvx
from keras_cvx.layers import FeaturePyramidDecoder, ResizeWithPad, TransposedConvDecoder
from keras_cvx.models import Segmenter
from keras_cvx.models._tiles import starts

CLASSES = 4
STRIDES = [2, 4, 8]


def make_backbone(size=None, filters=16):
    channels_first = keras.config.image_data_format() == "channels_first"
    inputs = keras.Input((3, size, size) if channels_first else (size, size, 3))
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    for _ in STRIDES:
        x = layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
    return keras.Model(inputs, x, name="backbone")


def make_segmenter(**options):
    decoder = TransposedConvDecoder(CLASSES, STRIDES, fusion="concat", filters=[16, 16])
    return Segmenter(make_backbone(), CLASSES, **{"decoder": decoder, **options})


def patches(count, size=(32, 48), seed=0):
    """Rectangles on dark noise, the class by the colour; some pixels without a class."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (count, *size, 3)).astype("uint8")
    masks = np.zeros((count, *size), "uint8")
    for image, mask in zip(images, masks, strict=True):
        for label in range(1, CLASSES):
            height, width = rng.integers(8, 16, 2)
            y, x = rng.integers(0, size[0] - height), rng.integers(0, size[1] - width)
            image[y : y + height, x : x + width] = 255 * np.eye(3)[label - 1]
            mask[y : y + height, x : x + width] = label
        mask[0, :5] = 255
    return images, masks


def as_numpy(x):
    return keras.tree.map_structure(ops.convert_to_numpy, x)


@pytest.fixture(scope="module")
def data():
    return patches(64)


@pytest.fixture(scope="module")
def trained(data):
    """A segmenter that has learnt the colours."""
    keras.utils.set_random_seed(1)
    segmenter = make_segmenter()
    segmenter.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = segmenter.fit(*data, batch_size=16, epochs=25, verbose=0).history
    return segmenter, history


@keras.saving.register_keras_serializable("test_segmenter")
class Colours(layers.Layer):
    """A decoder without weights: a bright colour is its class, and dark is class 0."""

    strides = 1

    def call(self, features, images):
        colours = ops.cast(images, "float32") / 255.0
        dark = 0.5 + 0.0 * colours[..., :1]
        return 100.0 * ops.concatenate([dark, colours], axis=-1)


def make_colours(**options):
    inputs = keras.Input((options.pop("size", None), options.pop("width", None), 3))
    return Segmenter(
        keras.Model(inputs, layers.Identity()(inputs)), CLASSES, decoder=Colours(), **options
    )


def test_no_images(trained):
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow's convolutions of an empty batch have wrong channels")
    found = as_numpy(trained[0].inference_model(np.zeros((0, 16, 24, 3), "float32")))
    assert {name: (x.shape, x.dtype) for name, x in found.items()} == {
        "masks": ((0, 16, 24), "int32"), "confidence": ((0, 16, 24), "float32"),
    }  # fmt: skip


def test_no_images_in_tiles(trained):
    with pytest.raises(ValueError, match="of at least one image"):
        trained[0].predict_tiled(np.zeros((0, 16, 24, 3)), tile_size=16, overlap=8)
    assert trained[0].predict_tiled([]) == {"masks": [], "confidence": []}


def test_learns(trained, data):
    segmenter, history = trained
    scores = ["frequency_weighted_iou", "mean_dice", "mean_iou", "pixel_accuracy"]
    assert sorted(history) == sorted(["loss", *scores])
    found = segmenter.evaluate(*data, batch_size=16, verbose=0, return_dict=True)
    assert sorted(found) == sorted(history)
    assert found["mean_iou"] > 0.8
    assert found["loss"] < 0.3 * history["loss"][0]


def test_evaluate_is_by_hand(trained, data):
    """The mean over the pixels that are kept, and the IoU of the classes."""
    images, masks = data
    scores = trained[0].evaluate(images, masks, batch_size=64, verbose=0, return_dict=True)
    logits = as_numpy(trained[0](images)).astype("float64")
    kept = masks != 255
    logs = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(
        logits, np.where(kept, masks, 0)[..., None].astype(int), -1
    )[..., 0]  # fmt: skip
    assert scores["loss"] == pytest.approx(logs[kept].mean(), rel=1e-4)
    ids = logits.argmax(-1)
    ious = [
        ((masks == c) & (ids == c)).sum() / (((masks == c) | (ids == c)) & kept).sum()
        for c in range(CLASSES)
    ]
    assert scores["mean_iou"] == pytest.approx(np.mean(ious), abs=1e-5)


@pytest.mark.parametrize("size", [(32, 48), (29, 45)])
def test_predict_is_the_softmax(trained, size):
    images, _ = patches(3, size)
    found = trained[0].predict(images, verbose=0)
    logits = as_numpy(trained[0](images)).astype("float64")
    assert logits.shape == (3, *size, CLASSES)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_array_equal(found["masks"], shares.argmax(-1))
    np.testing.assert_allclose(found["confidence"], shares.max(-1), atol=1e-5)
    assert (found["masks"].dtype, found["confidence"].dtype) == ("int32", "float32")
    graph = as_numpy(trained[0].inference_model(images))
    batch = as_numpy(trained[0].predict_on_batch(images))
    for name in ("masks", "confidence"):
        np.testing.assert_allclose(graph[name], found[name], atol=1e-5)
        np.testing.assert_allclose(batch[name], found[name], atol=1e-5)


@pytest.mark.parametrize("decoder", ["fcn8s", "fpn"])
def test_saved_and_loaded(decoder, data, tmp_path):
    inputs = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    for _ in range(5):
        x = layers.Conv2D(4, 3, 2, padding="same", activation="relu")(x)
    segmenter = Segmenter(
        keras.Model(inputs, x), CLASSES, decoder=decoder, ignore_class=[255, 254],
        preprocessing=ResizeWithPad(40, 56), name="kept",
    )  # fmt: skip
    segmenter.compile(loss="LovaszSoftmax", metrics=["BoundaryIoU"])
    images = [data[0][0], data[0][1][:20, :40]]
    segmenter.train_on_batch(data[0][:2], data[1][:2])
    segmenter.save(tmp_path / "model.keras")
    again = keras_cvx.plugins.load_model(tmp_path / "model.keras")
    assert json.dumps(again.get_config()) == json.dumps(segmenter.get_config())
    assert again.loss.get_config() == segmenter.loss.get_config()
    for name, expected in segmenter.predict(images).items():
        for one, other in zip(again.predict(images)[name], expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.isfinite(again.train_on_batch(data[0][:2], data[1][:2])[0])


@pytest.fixture
def channels_first():
    yield lambda: keras.config.set_image_data_format("channels_first")
    keras.config.set_image_data_format("channels_last")


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="on a CPU it has convolutions of channels last"
)
def test_channels_first(channels_first, tmp_path):
    images, _ = patches(2, (29, 45))
    keras.utils.save_img(tmp_path / "0.png", images[0], scale=False)

    def made():
        decoder = FeaturePyramidDecoder(CLASSES, [2], filters=4)
        return make_segmenter(decoder=decoder, preprocessing=ResizeWithPad(16, 24))

    def predicted(segmenter, image):
        given = [tmp_path / "0.png", image]
        tiled = segmenter.predict_tiled(given, tile_size=(16, 24), overlap=4)
        return [*tiled["confidence"], *segmenter.predict(given, batch_size=1)["confidence"]]

    last = made()
    expected = predicted(last, images[1])
    channels_first()
    first = made()
    first.set_weights(last.get_weights())
    for found, one in zip(predicted(first, images[1].transpose(2, 0, 1)), expected, strict=True):
        np.testing.assert_allclose(found, one, atol=1e-5)


# Images of several sizes.


def pictures():
    """Images and masks of several sizes, with rectangles large enough to survive a reduction."""
    sized = [patches(1, size, seed) for seed, size in enumerate([(40, 90), (100, 33), (61, 61)])]
    return [images[0] for images, _ in sized], [np.where(m[0] > 3, 0, m[0]) for _, m in sized]


def near_contours(mask, reach):
    """Pixels with another class within some rows or columns."""
    padded = np.pad(mask, reach, mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1,) * 2)
    return (views != mask[..., None, None]).any((-1, -2))


@pytest.mark.parametrize("place", ["center", "top_left", "bottom_right"])
def test_masks_come_back_at_their_size_and_place(place):
    segmenter = make_colours(preprocessing=ResizeWithPad(64, 80, pad_position=place))
    images, masks = pictures()
    found = segmenter.predict(images, batch_size=2)
    for mask, ids, confidence in zip(masks, found["masks"], found["confidence"], strict=True):
        assert ids.shape == confidence.shape == mask.shape
        # A pixel of the resized image is up to 1.7 of these.
        inside = ~near_contours(mask, 2)
        assert inside.mean() > 0.5
        np.testing.assert_array_equal(ids[inside], mask[inside])
        assert (ids == mask).mean() > 0.97


def test_contours_are_interpolated():
    """Of an image enlarged eightfold, the contour is an oblique line, not stairs of eight."""
    small = np.zeros((16, 16, 3), "uint8")
    rows, columns = np.mgrid[:16, :16]
    slope = np.clip(128 + 16 * (columns - rows), 0, 255)
    small[..., 0] = slope
    segmenter = make_colours(preprocessing=ResizeWithPad(16, 16))
    image = keras_cvx.ops.resize(small.astype("float32"), (128, 128))
    ids = segmenter.predict([image])["masks"][0]
    rows, columns = np.mgrid[:128, :128]
    expected = columns > rows
    away = (abs(columns - rows) > 2) & (rows > 8) & (rows < 120) & (columns > 8) & (columns < 120)
    np.testing.assert_array_equal(ids[away] == 1, expected[away])


def test_padding_does_not_reach_into_the_image():
    """White next to black padding stays white up to its last pixel."""
    segmenter = make_colours(preprocessing=ResizeWithPad(32, 32))
    image = np.zeros((64, 256, 3), "uint8")
    image[..., 1] = 255
    found = segmenter.predict([image])
    assert (found["masks"][0] == 2).all()
    np.testing.assert_allclose(found["confidence"][0], 1.0, atol=1e-6)


def test_what_was_cut_off_has_no_class():
    segmenter = make_colours(preprocessing=keras_cvx.layers.ResizeWithCropOrPad(16, 64))
    images, masks = patches(1, (20, 48))
    found = segmenter.predict([images[0]])
    seen = np.zeros((20, 48), bool)
    seen[2:18] = True
    np.testing.assert_array_equal(found["masks"][0][~seen], -1)
    np.testing.assert_array_equal(found["confidence"][0][~seen], 0.0)
    known = seen & (masks[0] < CLASSES)
    np.testing.assert_array_equal(found["masks"][0][known], masks[0][known])


def test_predictions_at_native_size_are_scored_and_drawn():
    """Lists of masks of several sizes, with places that were cut off, from one part to the next."""
    segmenter = make_colours(preprocessing=keras_cvx.layers.ResizeWithCropOrPad(16, 64))
    (first, truth), (second, wide) = patches(1, (20, 48)), patches(1, (16, 30))
    images, masks = [first[0], second[0]], [truth[0], wide[0]]
    found = segmenter.predict(images)
    metric = keras_cvx.metrics.SegmentationIoU(CLASSES)
    metric.update_state(masks, found["masks"])
    kept = np.concatenate([x.ravel() != 255 for x in masks])
    seen = np.concatenate([x.ravel() != -1 for x in found["masks"]])
    assert float(metric.result()["pixel_accuracy"]) == pytest.approx(seen[kept].mean(), rel=1e-6)
    assert not seen[kept].all()
    figure = keras_cvx.visualization.segmentation_gallery(images, masks, found)
    assert len(figure.axes) == 9


def test_probabilities_at_native_size():
    """As the documentation of `predict` has them."""
    letterbox = ResizeWithPad(32, 48)
    segmenter = make_segmenter(preprocessing=letterbox)
    images, _ = patches(2, (40, 50))
    logits = letterbox.restore_maps(segmenter(letterbox(images.astype("float32"))), (40, 50))
    shares = as_numpy(ops.softmax(logits))
    found = segmenter.predict(images, verbose=0)
    np.testing.assert_allclose(shares.max(-1), found["confidence"], atol=1e-5)
    np.testing.assert_allclose(shares.sum(-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 80), (50, 40)])
def test_one_truth_with_preprocessing(size):
    segmenter = make_segmenter(preprocessing=ResizeWithPad(32, 48))
    images, _ = patches(2, size)
    listed = segmenter.predict(list(images))
    batch = segmenter.predict(images, verbose=0)
    graph = as_numpy(segmenter.inference_model(images.astype("float32")))
    for name in ("masks", "confidence"):
        np.testing.assert_allclose(batch[name], np.stack(listed[name]), atol=1e-5)
        np.testing.assert_allclose(graph[name], np.stack(listed[name]), atol=1e-5)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="others cannot export images of any size"
)
def test_exported(tmp_path):
    import tensorflow as tf

    decoder = TransposedConvDecoder(CLASSES, [4])
    segmenter = make_segmenter(decoder=decoder, preprocessing=ResizeWithPad(32, 48))
    segmenter.export(tmp_path / "exported", format="tf_saved_model", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    images, _ = patches(2, (29, 45))
    served = exported.serve(images.astype("float32"))
    found = segmenter.predict(images, verbose=0)
    np.testing.assert_allclose(served["confidence"], found["confidence"], atol=1e-5)
    assert (served["masks"].numpy() == found["masks"]).mean() > 0.999


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="TensorFlow exports images of any size"
)
@pytest.mark.parametrize("options", [{}, {"preprocessing": ResizeWithPad(32, 48)}])
def test_images_of_any_size_are_not_exported(options, tmp_path):
    segmenter = make_segmenter(decoder=TransposedConvDecoder(CLASSES, [4]), **options)
    with pytest.raises(ValueError, match=r"`export` under JAX must be .*images \(B, H, W, 3\)"):
        segmenter.export(tmp_path / "exported", format="tf_saved_model", verbose=False)


def test_files_and_datasets(tmp_path):
    tf = pytest.importorskip("tensorflow")
    segmenter = make_colours(preprocessing=ResizeWithPad(48, 48))
    images, _ = pictures()
    expected = segmenter.predict(images)["masks"]
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        keras.utils.save_img(path, image, scale=False)
    ragged = tf.data.Dataset.from_tensors(tf.ragged.stack(images))
    for given in (paths, ragged):
        for found, one in zip(segmenter.predict(given)["masks"], expected, strict=True):
            assert found.shape == one.shape
            assert (found == one).mean() > 0.999


# Tiles.


@pytest.fixture(scope="module")
def large():
    return patches(2, (72, 104), seed=7)[0]


def test_tiles_are_the_whole_image(large):
    """A quarter of the overlap is more than a pixel's logits depend on: equal everywhere."""
    segmenter = make_segmenter(decoder=FeaturePyramidDecoder(CLASSES, [2], filters=4))
    whole = segmenter.predict(large, verbose=0)
    for options in ({"tile_size": 48, "overlap": 32}, {"tile_size": (56, 40), "overlap": 28}):
        found = segmenter.predict_tiled(large, batch_size=2, **options)
        np.testing.assert_allclose(found["confidence"], whole["confidence"], atol=1e-5)
        np.testing.assert_array_equal(found["masks"], whole["masks"])
    # And with no overlap it is not: the test can fail.
    found = segmenter.predict_tiled(large, tile_size=24, overlap=0)
    assert np.abs(found["confidence"] - whole["confidence"]).max() > 1e-3


@pytest.mark.parametrize("overlap", [0, 16])
def test_tiles_are_the_whole_image_away_from_their_borders(trained, overlap):
    segmenter, tile, margin = trained[0], 96, 40
    images = patches(1, (192, 288), seed=7)[0]
    whole = segmenter.predict(images, verbose=0)["confidence"]
    found = segmenter.predict_tiled(images, tile_size=tile, overlap=overlap)["confidence"]
    away = np.ones((192, 288), bool)
    for axis, side in enumerate((192, 288)):
        for start in starts(side, tile, overlap, 8):
            for border in (start, start + tile):
                if 0 < border < side:
                    near = slice(max(border - margin, 0), border + margin)
                    away[(slice(None),) * axis + (near,)] = False
    assert 0.02 < away.mean() < 0.5
    np.testing.assert_allclose(found[0][away], whole[0][away], atol=1e-5)
    assert np.abs(found - whole).max() > 1e-4


def test_tiles_of_a_memory_mapped_image(tmp_path):
    segmenter = make_colours()
    pixels = np.lib.format.open_memmap(
        tmp_path / "large.npy", "w+", dtype="uint8", shape=(300, 200, 3)
    )
    pixels[100:250, 50:90, 2] = 255
    image = np.load(tmp_path / "large.npy", mmap_mode="r")
    found = segmenter.predict_tiled([image, pixels[:30, :20]], tile_size=64, overlap=16)
    expected = np.zeros((300, 200), "int32")
    expected[100:250, 50:90] = 3
    np.testing.assert_array_equal(found["masks"][0], expected)
    assert found["masks"][1].shape == (30, 20)
    assert not found["masks"][1].any()


# Training.


def loss_by_hand(segmenter, images, masks, weights):
    logits = as_numpy(segmenter(images)).astype("float64")
    ids = np.where(masks == 255, 0, masks)[..., None].astype(int)
    logs = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, ids, -1)[..., 0]
    kept = masks != 255
    return (logs * weights)[kept].sum() / kept.sum()


def frozen_segmenter():
    segmenter = make_segmenter(decoder=TransposedConvDecoder(CLASSES, STRIDES))
    segmenter.compile(optimizer=keras.optimizers.SGD(0.0))
    return segmenter


@pytest.mark.parametrize("axis", [False, True])
def test_class_weights(axis, data):
    """They count in training alone, in whatever was traced before or is after."""
    segmenter = frozen_segmenter()
    images, masks = data[0][:8], data[1][:8]
    given = masks[..., None] if axis else masks
    plain = loss_by_hand(segmenter, images, masks, np.ones(masks.shape))
    weighted = loss_by_hand(segmenter, images, masks, np.where(masks == 2, 7.0, 1.0))
    assert abs(weighted - plain) > 0.05
    options = {"verbose": 0, "validation_data": (images, given)}
    for class_weight, expected in ((None, plain), ({2: 7.0}, weighted), ({}, plain)):
        history = segmenter.fit(images, given, class_weight=class_weight, **options).history
        assert history["loss"][0] == pytest.approx(expected, rel=1e-4)
        assert history["val_loss"][0] == pytest.approx(plain, rel=1e-4)


def test_class_weights_and_sample_weights(data):
    segmenter = frozen_segmenter()
    images, masks = data[0][:4], data[1][:4]
    rng = np.random.default_rng(0)
    of_images = rng.uniform(0.5, 2, 4).astype("float32")
    of_pixels = rng.uniform(0.5, 2, masks.shape).astype("float32")
    classes = np.where(masks == 1, 3.0, 1.0)
    # Both kinds in one trace, of which TensorFlow then forgets the rank.
    for class_weight, factor in ((None, 1.0), ({1: 3.0}, classes)):
        for given, weights in ((of_images, of_images[:, None, None]), (of_pixels, of_pixels)):
            history = segmenter.fit(
                images, masks, sample_weight=given, class_weight=class_weight, verbose=0
            ).history
            expected = loss_by_hand(segmenter, images, masks, weights * factor)
            assert history["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_nothing_but_ignored_pixels(data):
    segmenter = make_segmenter()
    segmenter.compile(optimizer=keras.optimizers.SGD(1.0))
    before = segmenter.get_weights()
    masks = np.full_like(data[1][:4], 255)
    history = segmenter.fit(data[0][:4], masks, class_weight={1: 2.0}, verbose=0).history
    assert history["loss"] == [0.0]
    for weight, old, new in zip(segmenter.weights, before, segmenter.get_weights(), strict=True):
        if weight.trainable:
            np.testing.assert_array_equal(new, old)
        assert np.isfinite(new).all()


@pytest.mark.parametrize(
    "loss",
    [
        "LovaszSoftmax", "FocalTversky", "GeneralizedDice", "BoundaryLoss",
        "sparse_categorical_crossentropy", "CategoricalFocalCrossentropy",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255),
    ],
)  # fmt: skip
def test_losses(loss, data):
    segmenter = make_segmenter()
    segmenter.compile(optimizer=keras.optimizers.Adam(1e-2), loss=loss, metrics=None)
    images, masks = data[0][:8], data[1][:8]
    history = segmenter.fit(images, masks, epochs=3, batch_size=4, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < history[0]
    # Ignored pixels would count if they were of a class.
    other = np.where(masks == 255, 1, masks)
    assert segmenter.evaluate(images, masks, verbose=0) != segmenter.evaluate(
        images, other, verbose=0
    )


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        keras_cvx.losses.LovaszSoftmax(from_logits=True),
    ],
)
def test_losses_that_are_objects_ignore_what_the_model_ignores(loss, data):
    segmenter = make_segmenter(ignore_class=[255, 3])
    segmenter.compile(loss=loss)
    masks, rng = data[1][:2], np.random.default_rng(0)
    logits = rng.normal(size=(*masks.shape, CLASSES)).astype("float32")
    other = np.where(np.isin(masks, [255, 3])[..., None], 9.0, logits).astype("float32")
    value = float(segmenter.loss(masks, logits))
    assert float(segmenter.loss(masks, other)) == pytest.approx(value, rel=1e-6)
    assert float(segmenter.loss(masks, logits + np.float32([9, 0, 0, 0]))) != pytest.approx(
        value, rel=1e-2
    )


def test_datasets(data):
    tf = pytest.importorskip("tensorflow")
    segmenter = frozen_segmenter()
    images, masks = data[0][:8], data[1][:8]
    dataset = tf.data.Dataset.from_tensor_slices((images, masks[..., None])).batch(4)
    expected = segmenter.fit(images, masks, batch_size=4, shuffle=False, verbose=0).history
    found = segmenter.fit(dataset, shuffle=False, verbose=0).history
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert found["mean_iou"] == pytest.approx(expected["mean_iou"], rel=1e-4)


def test_fine_tuned_with_class_weights(trained, data):
    segmenter = Segmenter(trained[0].backbone, CLASSES, decoder=TransposedConvDecoder(CLASSES, [4]))
    segmenter.compile(optimizer=keras.optimizers.Adam(1e-2))
    before = [np.array(w) for w in segmenter.backbone.get_weights()]
    history = keras_cvx.models.fine_tune(
        segmenter, *data, epochs=(2, 1), learning_rate=1e-3, backbone=segmenter.backbone,
        unfreeze_from=0, batch_size=16, class_weight={0: 0.5}, verbose=0,
    )  # fmt: skip
    assert len(history.history["mean_iou"]) == 3
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert any(
        np.abs(a - b).max() > 0
        for a, b in zip(before, segmenter.backbone.get_weights(), strict=True)
    )


# Bad input.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m + 0.0, r"masks of class ids, integers\. Received: dtype float64"),
        (lambda m: m[:, :-1], r"size of their images.*Received: shape \(4, 31, 48\)"),
        (lambda m: m[:3], r"size of their images, \(4, 32, 48\)"),
        (lambda m: np.eye(256)[m], r"`np.argmax\(masks, axis=-1\)`"),
        (
            lambda m: np.where((np.arange(4) == 2)[:, None, None] & (m == 3), 9, m),
            r"ids from 0 to 3, or the ignored \[255\]\. Received: \[9\] in \d+ pixels of the mask "
            "of image 2",
        ),
        (lambda m: m.astype("int32") - 1, r"Received: \[-1, 254\] in \d+ pixels of the mask of im"),
        (lambda m: [list(x) for x in m[:2]] + [[1]], r"`y` must be masks"),
        (lambda m: None, r"`y` must be masks"),
        (lambda m: {"masks": m}, r"Received: a dictionary of the keys \['masks'\]"),
    ],
)  # fmt: skip
def test_bad_masks(change, message, data):
    segmenter = frozen_segmenter()
    images, masks = data[0][:4], data[1][:4]
    for method in (segmenter.fit, segmenter.evaluate):
        with pytest.raises(ValueError, match=message):
            method(images, change(masks))
    with pytest.raises(ValueError, match=message):
        segmenter.fit(images, masks, validation_data=(images, change(masks)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "`num_classes` must be an integer of at least 2"),
        ({"num_classes": 1}, "`num_classes` must be an integer of at least 2"),
        ({"decoder": "fcn8"}, "'fcn8s'"),
        (
            {"decoder": "fcn8s"},
            r"`decoder` uses the strides \[8, 16, 32\] of `backbone`.*\[1, 2, 4, 8\].*"
            r"`decoder=keras_cvx.layers.TransposedConvDecoder\(4, strides=\[...\]\)`",
        ),
        ({"decoder": "TransposedConvDecoder"}, "needs nothing but `num_classes`"),
        ({"decoder": TransposedConvDecoder(7, [4])}, "num_classes=4"),
        ({"decoder": layers.Conv2D(4, 1)}, "called on a list of feature maps and the images"),
        ({"decoder": layers.Dense(4)}, "attribute `strides`"),
        ({"decoder": TransposedConvDecoder}, "attribute `strides`"),
        ({"ignore_class": 0.5}, "`ignore_class` must be"),
        ({"preprocessing": layers.Resizing(32, 32)}, "`preprocessing` must be one layer"),
        (
            {"preprocessing": ResizeWithPad(30, 40, data_format="channels_first")},
            "that the backbone takes: height=30, width=40, data_format='channels_last'",
        ),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        make_segmenter(**options) if "num_classes" not in options else Segmenter(
            make_backbone(), decoder="fpn", **options
        )


def test_decoder_of_other_logits(clean_registry):
    @keras.saving.register_keras_serializable("acme")
    class Half(layers.Layer):
        strides = 2

        def call(self, features, images):
            return ops.concatenate([features[0]] * 2, -1)[..., :CLASSES]

    with pytest.raises(ValueError, match=r"`decoder` must give logits \(B, H, W, 4\) of the size"):
        Segmenter(make_backbone(32), CLASSES, decoder=Half())


def test_decoder_whose_shapes_cannot_be_inferred(clean_registry):
    """Where it says them it serves; where not, it is told to, and a fault of its own stays."""

    class Sized(layers.Layer):
        strides = 2

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.scores = layers.Conv2D(CLASSES, 1)

        def build(self, maps_shape, images_shape):
            self.scores.build(maps_shape[0])

        def call(self, maps, images):
            if isinstance(images, keras.KerasTensor) or ops.shape(images)[1:3] != (9, 13):
                raise RuntimeError("sizes that are unknown")
            return ops.image.resize(self.scores(maps[0]), (9, 13))

    keras.saving.register_keras_serializable("acme")(Sized)
    with pytest.raises(ValueError, match=r"`decoder` must say what shape.*`compute_output_shape\("):
        Segmenter(make_backbone(), CLASSES, decoder=Sized())

    class Told(Sized):
        def compute_output_shape(self, maps_shape, images_shape):
            return (*images_shape[:3], CLASSES)

    keras.saving.register_keras_serializable("acme")(Told)
    segmenter = Segmenter(make_backbone(), CLASSES, decoder=Told())
    assert segmenter(np.zeros((1, 9, 13, 3))).shape == (1, 9, 13, CLASSES)

    class Wrong(Told):
        def build(self, maps_shape, images_shape):
            raise ValueError("a fault of its own")

    keras.saving.register_keras_serializable("acme")(Wrong)
    with pytest.raises(ValueError, match=r"^a fault of its own"):
        Segmenter(make_backbone(), CLASSES, decoder=Wrong())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": keras.losses.SparseCategoricalCrossentropy()}, "from_logits=True"),
        ({"loss": keras.losses.Dice()}, "GeneralizedDice"),
        ({"loss": "Dice"}, "GeneralizedDice"),
        ({"loss": keras_cvx.losses.IgnoreClass(keras.losses.Tversky())}, "FocalTversky"),
        ({"loss": keras_cvx.losses.LovaszSoftmax()}, "from_logits=True"),
        ({"loss": keras.losses.sparse_categorical_crossentropy}, "from_logits=True"),
        ({"loss": "LovaszSoftmx"}, "LovaszSoftmax"),
        ({"metrics": [keras_cvx.metrics.SegmentationIoU(4)]}, "sparse_y_pred=False"),
        ({"metrics": keras.metrics.MeanIoU(5, sparse_y_pred=False)}, "num_classes=4"),
        ({"metrics": keras.metrics.MeanIoU(4, sparse_y_pred=False)}, "ignore_class=255"),
        ({"loss_weights": [1.0]}, "`loss_weights` must be None"),
        ({"loss": []}, "`losses` must be a list of losses"),
        ({"loss": ["auto", keras.losses.Dice()]}, "GeneralizedDice"),
        ({"loss": ["auto"], "loss_weights": [1.0, 2.0]}, "`weights` must be a list of 1 numbers"),
        ({"loss": {"masks": "auto"}}, "`loss` must be one loss, or a list of losses to be added"),
    ],
)
def test_bad_compile(options, message):
    with pytest.raises(ValueError, match=message):
        make_segmenter().compile(**options)


@pytest.mark.parametrize(
    "class_weight", [{4: 1.0}, {-1: 1.0}, {0: -1.0}, {0: np.nan}, {0: None}, [1, 1, 1, 1]]
)
def test_bad_class_weights(class_weight, data):
    with pytest.raises(ValueError, match=r"`class_weight` must be a dictionary from class ids"):
        frozen_segmenter().fit(*data, class_weight=class_weight)


def test_class_weights_of_a_batch(data):
    with pytest.raises(ValueError, match=r"`class_weight` must be None here.*`sample_weight`"):
        frozen_segmenter().train_on_batch(*data, class_weight={0: 0.5})


def test_a_sum_of_losses(data, tmp_path):
    """Each is of the pixels that count; together they are what each is alone, in a file too."""
    images, masks = data[0][:4], data[1][:4]
    segmenter = make_segmenter(decoder=TransposedConvDecoder(CLASSES, STRIDES))
    dice = keras_cvx.losses.GeneralizedDice(from_logits=True)
    values = []
    for loss, weights in (
        ("auto", None), (dice, None), (["auto", dice], None), (["auto", dice], [0.5, 3.0]),
    ):  # fmt: skip
        segmenter.compile(keras.optimizers.SGD(0.0), loss, weights, metrics=None)
        history = segmenter.fit(images, masks, verbose=0).history
        values.append(history["loss"][0])
    assert values[2] == pytest.approx(values[0] + values[1], rel=1e-5)
    assert values[3] == pytest.approx(0.5 * values[0] + 3 * values[1], rel=1e-5)
    with pytest.raises(ValueError, match=r"`class_weight` must be None with .* GeneralizedDice"):
        segmenter.fit(images, masks, class_weight={0: 0.5})
    segmenter.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.evaluate(images, masks, verbose=0) == pytest.approx(values[3], rel=1e-5)
    assert again.loss.get_config() == segmenter.loss.get_config()


def test_class_weights_of_a_sum_of_losses_of_pixels(data):
    images, masks = data[0][:4], data[1][:4]
    segmenter = frozen_segmenter()
    segmenter.compile(keras.optimizers.SGD(0.0), ["auto", "auto"], [1.0, 0.5], metrics=None)
    history = segmenter.fit(images, masks, class_weight={2: 7.0}, verbose=0).history
    expected = loss_by_hand(segmenter, images, masks, np.where(masks == 2, 7.0, 1.0))
    assert history["loss"][0] == pytest.approx(1.5 * expected, rel=1e-4)


def test_losses_of_their_own_arguments(data):
    """What a named loss does not take it does not get: one of two classes no logits."""
    segmenter = make_segmenter()
    segmenter.compile(loss="LovaszHinge")
    with pytest.raises(ValueError, match="y_pred"):
        segmenter.evaluate(*data, verbose=0)


def test_class_weights_need_a_loss_of_pixels(data):
    segmenter = make_segmenter()
    segmenter.compile(loss="LovaszSoftmax")
    with pytest.raises(ValueError, match=r"`class_weight` must be None with .* LovaszSoftmax"):
        segmenter.fit(*data, class_weight={0: 0.5})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile_size": 0}, "`tile_size` must be"),
        ({"tile_size": 32, "overlap": 25}, "`overlap` must be less than `tile_size` by 8 or more"),
        ({"tile_size": 32, "overlap": -1}, "`overlap` must be"),
        ({"batch_size": 0}, "`batch_size` must be"),
        ({"x": np.zeros((16, 16, 3))}, r"`x\[None\]`"),
        ({"x": [np.zeros((16, 16))]}, r"`x\[0\]` must be one image \(H, W, 3\)"),
        ({"x": ["nowhere.png"]}, "nowhere.png"),
        ({"x": "nowhere.png"}, r"Received: x='nowhere.png'. Pass `\[x\]`"),
        ({"x": {"images": np.zeros((1, 16, 16, 3))}}, r"`scenes\[\"images\"\]` as `x`"),
    ],
)
def test_bad_tiles(options, message):
    given = {"x": np.zeros((1, 64, 64, 3)), "tile_size": 32, "overlap": 8, **options}
    with pytest.raises(ValueError, match=message):
        make_segmenter().predict_tiled(**given)


def test_tiles_of_a_backbone_of_one_size():
    segmenter = Segmenter(make_backbone(32), CLASSES, decoder=TransposedConvDecoder(CLASSES, [4]))
    found = segmenter.predict_tiled(np.zeros((1, 64, 48, 3), "uint8"), overlap=8)
    assert found["masks"].shape == (1, 64, 48)
    quarter = segmenter.predict_tiled(np.zeros((1, 64, 48, 3), "uint8"))
    np.testing.assert_array_equal(quarter["confidence"], found["confidence"])
    with pytest.raises(ValueError, match=r"`x\[0\]` must be as large as .* \(32, 32\), or larger"):
        segmenter.predict_tiled(np.zeros((1, 64, 20, 3), "uint8"), overlap=8)
    with pytest.raises(ValueError, match=r"`tile_size` must be the size of the images.*\(32, 32\)"):
        segmenter.predict_tiled(np.zeros((1, 64, 48, 3)), tile_size=16, overlap=8)


def test_bad_images(trained):
    segmenter = trained[0]
    alone = ((np.zeros((1, 16, 16, 3), "float32"),) for _ in range(2))
    with pytest.raises(ValueError, match=r"dataset of images and masks\. Received: images"):
        frozen_segmenter().fit(alone, shuffle=False)
    with pytest.raises(ValueError, match=r"`y` must be masks .*Received: images alone"):
        frozen_segmenter().fit(np.zeros((1, 16, 16, 3)))
    with pytest.raises(ValueError, match="lists of images"):
        segmenter.predict([np.zeros((16, 16, 3))])
    with pytest.raises(ValueError, match='scenes\\["segmentation_masks"\\]'):
        segmenter.fit({"images": np.zeros((1, 16, 16, 3)), "segmentation_masks": 0})
    with pytest.raises(ValueError, match=r"'k17'\] and 50 more. Of scenes"):
        segmenter.fit({f"k{i}": 0 for i in range(60)})
