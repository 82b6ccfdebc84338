"""
Localize one handwritten digit
==============================

One object an image: which one it is, and where. A small backbone of one's own becomes a localizer,
is trained beside the way that tutorials show, two dense outputs on global pooling, and draws what
it found.
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_cvx as cvx

SIZE = 64

# %%
# A scene is a window of 64 × 64 pixels in a larger photograph, around its one digit; its box is
# four corners in pixels. A few scenes have no digit: their label is −1.


def scenes_with_one_digit(count, split):
    large = cvx.datasets.digit_scenes(count, split=split, size=2 * SIZE, max_objects=1)
    labels, boxes = (large["bounding_boxes"][key][:, 0] for key in ("labels", "boxes"))
    images = np.empty((count, SIZE, SIZE, 3), "uint8")
    rng = np.random.default_rng(0)
    for i in range(count):
        # Windows begin before the digit does, and end after it.
        first, last = (boxes[i, :2], boxes[i, 2:]) if labels[i] >= 0 else (SIZE, 0)
        left, top = rng.integers(np.maximum(last - SIZE, 0), np.minimum(first, SIZE) + 1, 2)
        images[i] = large["images"][i, top : top + SIZE, left : left + SIZE]
        if labels[i] >= 0:
            boxes[i] -= [left, top, left, top]
    return images, {"labels": labels, "boxes": boxes}


# %%
# The training sees another part of every scene, in other colours, each time. The layer moves the
# boxes with their images; it takes them as rows, of which there may be several in an image.


class Batches(keras.utils.PyDataset):
    def __init__(self, images, truth, batch_size, seed=0):
        super().__init__()
        self.images, self.truth, self.batch_size = images, truth, batch_size
        self.rng = np.random.default_rng(seed)
        self.crop = cvx.layers.RandomCropAndResize(
            SIZE, SIZE, scale=(0.5, 1.0), aspect_ratio=(0.8, 1.25), min_visible=0.5,
            bounding_box_format="xyxy", seed=seed,
        )  # fmt: skip
        self.on_epoch_end()

    def __len__(self):
        return len(self.images) // self.batch_size

    def __getitem__(self, index):
        chosen = self.order[index * self.batch_size :][: self.batch_size]
        rows = {key: value[chosen, None] for key, value in self.truth.items()}
        sample = self.crop({"images": self.images[chosen], "bounding_boxes": rows})
        images = sample["images"][..., self.rng.permutation(3)]
        images = np.where(self.rng.random((len(images), 1, 1, 1)) < 0.5, 255 - images, images)
        boxes = sample["bounding_boxes"]
        return images, {key: boxes[key][:, 0] for key in ("labels", "boxes")}

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.images))


# %%
# A backbone is any functional model from images to a feature map, such as
# `cvx.backbones.get("MobileNetV2")`. This one is small enough for a CPU.
# Normalization is part of it: the model takes images as they are, 0 to 255.


def convolution(x, filters, stride=1):
    x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
    return layers.Activation("relu")(layers.BatchNormalization(momentum=0.97)(x))


def small_backbone():
    """A feature map at stride 8 from 0.6 million weights."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    x = layers.Conv2D(48, 5, 2, padding="same", activation="relu")(x)
    for filters, count in ((64, 2), (128, 3)):
        x = convolution(x, filters, stride=2)
        for _ in range(count):
            x = layers.Add()([x, convolution(x, filters)])
    return keras.Model(inputs, x, name="small_backbone")


# %%
# The localizer needs the backbone and the number of classes. Its losses are cross-entropy for the
# class, "no digit" included, and GIoU for the box; its metrics accuracy and mean IoU.


def localizer(optimizer):
    model = cvx.models.Localizer(small_backbone(), num_classes=10)
    model.compile(optimizer=optimizer)
    return model


# %%
# The way of the tutorials, on the same backbone: the mean over all places for both outputs, and the
# squared error of raw coordinates. It has no class for "no digit": where there is none, its class
# output learns nothing, and its box output the four −1 of the ground truth.


def tutorial_model(optimizer):
    backbone = small_backbone()
    x = layers.GlobalAveragePooling2D()(backbone.output)
    outputs = {
        "labels": layers.Dense(10, activation="softmax", name="labels")(x),
        "boxes": layers.Dense(4, name="boxes")(x),
    }
    model = keras.Model(backbone.input, outputs)
    model.compile(
        optimizer=optimizer,
        loss={
            "labels": keras.losses.SparseCategoricalCrossentropy(ignore_class=-1),
            "boxes": "mse",
        },
        metrics={"labels": "accuracy", "boxes": cvx.metrics.BoxIoU()},
    )
    return model


def optimizer_for(steps):
    """AdamW whose rate rises for a twentieth of the steps, and falls by a cosine to 0."""
    warmup = max(steps // 20, 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-5, steps - warmup, alpha=0.0, warmup_target=1.5e-3, warmup_steps=warmup
    )
    return keras.optimizers.AdamW(schedule, weight_decay=0.05)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=3000, help="training scenes")
    parser.add_argument("--test-scenes", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=23)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)

    train = scenes_with_one_digit(options.scenes, "train")
    images, truth = scenes_with_one_digit(options.test_scenes, "test")
    there = truth["labels"] >= 0
    test = images[there], {key: value[there] for key, value in truth.items()}

    models, scores = {}, {}
    for name, make in (("localizer", localizer), ("tutorial's way", tutorial_model)):
        keras.utils.set_random_seed(0)
        batches = Batches(*train, options.batch_size)
        models[name] = make(optimizer_for(options.epochs * len(batches)))
        started = time.perf_counter()
        models[name].fit(batches, epochs=options.epochs, verbose=2)
        seconds = time.perf_counter() - started
        scores[name] = models[name].evaluate(*test, return_dict=True, verbose=0)
        print(
            f"{name}: class accuracy {scores[name]['labels_accuracy']:.3f}, mean IoU "
            f"{scores[name]['boxes_box_iou']:.3f} on {there.sum()} test scenes with a digit, after "
            f"{seconds:.0f} s of training"
        )

    # %%
    # `predict` gives detections, at most one an image and none where there is no digit.
    found = models["localizer"].predict(images, verbose=0)
    none = found["num_detections"][~there] == 0
    print(f"No digit was found in {none.sum()} of {len(none)} scenes that have none.")

    # %%
    # The file holds the whole model. With a letterbox before it, it takes images of any size, and
    # gives each box in that image's own pixels.
    model_file = options.output / "localizer.keras"
    models["localizer"].save(model_file)
    reloaded = keras.saving.load_model(model_file)
    reloaded.preprocessing = cvx.layers.ResizeWithPad(SIZE, SIZE)
    larger = [image.repeat(3, axis=0).repeat(3, axis=1) for image in images[:8]]
    detections = reloaded.predict(larger, verbose=0)

    figure = cvx.visualization.gallery(
        np.stack(larger),
        {"labels": truth["labels"][:8, None], "boxes": 3 * truth["boxes"][:8, None]},
        detections,
        class_names=cvx.datasets.DIGIT_NAMES,
        columns=2,
    )
    picture = options.output / "localized.png"
    figure.savefig(picture)
    print(f"The picture is {picture}, the model {model_file}.")
    return scores


if __name__ == "__main__":
    main()
