"""
Segment handwritten digits in photographs
=========================================

A small backbone of one's own becomes a segmenter, learns which pixels of a photograph belong to
which handwritten digit, is scored by the IoU of each class, saved, loaded again, and drawn.
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_cvx as cvx

# %%
# A backbone is any functional model of images; the decoder finds its feature maps by their strides.
# On a CPU large maps are dear, so the first convolution goes to stride 4 at once.


def convolution(x, filters, stride=1):
    x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
    return layers.Activation("relu")(layers.BatchNormalization(momentum=0.97)(x))


def residuals(x, filters, count):
    for _ in range(count):
        x = layers.Add()([x, convolution(x, filters)])
    return x


def small_backbone():
    """Feature maps at strides 4 to 32 from 1.2 million weights."""
    inputs = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    x = layers.Conv2D(64, 6, 4, padding="same", activation="relu")(x)
    x = residuals(x, 64, count=1)
    x = residuals(convolution(x, 96, stride=2), 96, count=2)
    x = residuals(convolution(x, 128, stride=2), 128, count=2)
    x = residuals(convolution(x, 192, stride=2), 192, count=1)
    return keras.Model(inputs, x, name="small_backbone")


# %%
# Ten digits and what is behind them are eleven classes. The decoder is one of transposed
# convolutions, with the maps of the backbone beside them as in a U-Net; `decoder="fcn8s"` would be
# another. Digits are small: their pixels weigh three times as much as those of the background.

CLASSES = ["background", *cvx.datasets.DIGIT_NAMES]


def segmenter_of_digits():
    decoder = cvx.layers.TransposedConvDecoder(
        len(CLASSES), strides=[4, 8, 16, 32], fusion="concat", filters=[64, 96, 128]
    )
    return cvx.models.Segmenter(small_backbone(), len(CLASSES), decoder=decoder)


def train(scenes, test, epochs, batch_size=16):
    segmenter = segmenter_of_digits()
    steps = epochs * len(scenes["images"]) // batch_size
    warmup = steps // 20
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-5, steps - warmup, alpha=0.0, warmup_target=2e-3, warmup_steps=warmup
    )
    segmenter.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.05),
        # Of its own Keras does not compile for TensorFlow on a CPU, where XLA saves some time.
        jit_compile=keras.backend.backend() != "torch",
    )
    segmenter.fit(
        scenes["images"],
        scenes["segmentation_masks"],
        validation_data=(test["images"], test["segmentation_masks"]),
        batch_size=batch_size,
        epochs=epochs,
        class_weight=dict.fromkeys(range(1, len(CLASSES)), 3.0),
    )
    return segmenter


# %%
# The metric keeps one confusion matrix, and knows the score of each class.


def print_scores(segmenter, test):
    metric = cvx.metrics.SegmentationIoU(num_classes=len(CLASSES))
    found = segmenter.predict(test["images"], verbose=0)
    metric.update_state(test["segmentation_masks"], found["masks"])
    for name, iou in zip(CLASSES, metric.per_class()["iou"], strict=True):
        print(f"{name:>12}  IoU {iou:.3f}")
    return {name: float(value) for name, value in metric.result().items()}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=4000, help="training scenes")
    parser.add_argument("--test-scenes", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, default=128, help="of the scenes")
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()

    keras.utils.set_random_seed(0)
    scenes = cvx.datasets.digit_scenes(options.scenes, split="train", size=options.size, seed=0)
    test = cvx.datasets.digit_scenes(options.test_scenes, split="test", size=options.size, seed=0)
    segmenter = train(scenes, test, options.epochs)
    scores = print_scores(segmenter, test)

    # The file holds all that the masks need.
    model_file = options.output / "segmentation.keras"
    segmenter.save(model_file)
    reloaded = keras.saving.load_model(model_file)
    images, masks = test["images"][:6], test["segmentation_masks"][:6]
    found = segmenter.predict(images, verbose=0)
    np.testing.assert_array_equal(reloaded.predict(images, verbose=0)["masks"], found["masks"])

    # Images of any size, through a letterbox and back: each mask has the size of its image.
    reloaded.preprocessing = cvx.layers.ResizeWithPad(options.size, options.size)
    wide = np.concatenate([images[0], images[1]], axis=1)
    (mask,) = reloaded.predict([wide])["masks"]
    print(f"An image of {wide.shape[:2]} pixels has a mask of {mask.shape}.")

    figure = cvx.visualization.segmentation_gallery(images, masks, found, class_names=CLASSES)
    picture = options.output / "segmentation.png"
    figure.savefig(picture)

    print(f"Mean IoU {scores['mean_iou']:.3f} over {len(CLASSES)} classes")
    print(
        f"{time.perf_counter() - started:.0f} s in all. "
        f"The picture is {picture}, the segmenter {model_file}."
    )
    return scores


if __name__ == "__main__":
    main()
