"""
Detect handwritten digits in photographs
========================================

A small backbone of one's own becomes a detector, learns to find handwritten digits on photographs,
is scored by COCO's average precision, saved, loaded in a fresh process, and drawn.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_cvx as cvx

# %%
# A backbone is any functional model of images. This one ends in a path back up to finer strides, so
# that the last feature map of each stride has seen the whole context. Normalization is part of it:
# the saved detector takes images as they are, 0 to 255. On a CPU batch normalization costs more
# than a small convolution, most of all on large maps, so the first layer goes without.


def convolution(x, filters, stride=1):
    x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
    return layers.Activation("relu")(layers.BatchNormalization(momentum=0.97)(x))


def residuals(x, filters, count):
    for _ in range(count):
        x = layers.Add()([x, convolution(x, filters)])
    return x


def upward(x, skip, filters):
    x = layers.UpSampling2D()(layers.Conv2D(filters, 1, activation="relu")(x))
    return convolution(layers.Concatenate()([x, skip]), filters)


def small_backbone():
    """Feature maps at strides 8 and 16 from 1.9 million weights."""
    inputs = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    x = layers.Conv2D(64, 6, 4, padding="same", activation="relu")(x)
    fine = residuals(convolution(x, 96, stride=2), 96, count=2)
    middle = residuals(convolution(fine, 128, stride=2), 128, count=2)
    x = residuals(convolution(middle, 192, stride=2), 192, count=1)
    middle = upward(x, middle, 128)
    fine = residuals(upward(middle, fine, 96), 96, count=2)
    return keras.Model(inputs, [fine, middle], name="small_backbone")


# %%
# The detector is put together, trained and scored in a few lines.


def train(scenes, test, epochs, batch_size=8):
    detector = cvx.models.GridDetector(small_backbone(), num_classes=10)
    steps = epochs * len(scenes["images"]) // batch_size
    warmup = steps // 20
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-5, steps - warmup, alpha=0.0, warmup_target=1.5e-3, warmup_steps=warmup
    )
    detector.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.05),
        # Of its own Keras does not compile for TensorFlow on a CPU, where XLA saves a seventh.
        jit_compile=keras.backend.backend() != "torch",
    )
    detector.fit(
        scenes["images"],
        scenes["bounding_boxes"],
        validation_data=(test["images"], test["bounding_boxes"]),
        batch_size=batch_size,
        epochs=epochs,
    )
    return detector


# %%
# The file holds all that the detections need. A fresh process finds the same ones.

RELOAD = """
import sys
import keras, numpy as np, keras_cvx
detector = keras.saving.load_model(sys.argv[1])
np.savez(sys.argv[3], **detector.predict(np.load(sys.argv[2]), verbose=0))
"""


def detections_of_a_fresh_process(model_file, images, folder):
    given, found = folder / "images.npy", folder / "detections.npz"
    np.save(given, images)
    arguments = [str(path) for path in (model_file, given, found)]
    subprocess.run([sys.executable, "-c", RELOAD, *arguments], check=True)
    with np.load(found) as arrays:
        detections = dict(arrays)
    given.unlink()
    found.unlink()
    return detections


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=4000, help="training scenes")
    parser.add_argument("--test-scenes", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()

    keras.utils.set_random_seed(0)
    scenes = cvx.datasets.digit_scenes(options.scenes, split="train", size=128, seed=0)
    test = cvx.datasets.digit_scenes(options.test_scenes, split="test", size=128, seed=0)
    detector = train(scenes, test, options.epochs)
    scores = detector.evaluate(test["images"], test["bounding_boxes"], return_dict=True, verbose=0)

    model_file = options.output / "digits.keras"
    detector.save(model_file)
    detections = detector.predict(test["images"], verbose=0)
    reloaded = detections_of_a_fresh_process(model_file, test["images"], options.output)
    for key, value in detections.items():
        np.testing.assert_allclose(reloaded[key], value, atol=1e-3, err_msg=key)

    figure = cvx.visualization.gallery(
        test["images"][:8],
        {key: value[:8] for key, value in test["bounding_boxes"].items()},
        {key: value[:8] for key, value in detections.items()},
        class_names=cvx.datasets.DIGIT_NAMES,
        columns=2,
    )
    picture = options.output / "detections.png"
    figure.savefig(picture)

    print(f"AP {scores['AP']:.3f}, AP50 {scores['AP50']:.3f} on {options.test_scenes} test scenes")
    print("The file, loaded in a fresh process, gave the same detections.")
    print(
        f"{time.perf_counter() - started:.0f} s in all. "
        f"The picture is {picture}, the detector {model_file}."
    )
    return scores


if __name__ == "__main__":
    main()
