"""
Slide a classifier over a photograph
====================================

A classifier learns handwritten digits on crops of 28 × 28 pixels. As a detector it then finds
digits of many sizes in a photograph of 427 × 640, in one pass over the image or crop by crop: the
boxes are the same, the time is not.
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.datasets import load_digits, load_sample_images

import keras_cvx as cvx

WINDOW = 28
# A digit's height in a window; the window is what the detector's boxes enclose.
HEIGHT = 20
NOTHING = 10

# %%
# scikit-learn ships scans of digits, 8 × 8, and two photographs of 427 × 640. Everything below is
# made of these: a digit is drawn in any size, white on dark ground and black on bright.

DIGITS = load_digits()
TEMPLE, FLOWER = load_sample_images().images
KINDS = [0.35, 0.25, 0.15, 0.15, 0.1]


def draw_digit(image, index, top, left, height):
    """Draws a scan into an image, in place; what lies outside is cut off."""
    scan = np.pad(DIGITS.images[index], 1)[..., None].astype("float32") / 16
    side = round(height * len(scan) / 8)
    ink = cvx.ops.resize(scan, (side, side), interpolation="bicubic")
    ink = np.clip(0.5 + (ink - 0.55) * height / 8, 0, 1)
    bottom, right = (
        min(place + side, end) for place, end in zip((top, left), image.shape, strict=False)
    )
    y, x = max(top, 0), max(left, 0)
    ink = ink[y - top : bottom - top, x - left : right - left]
    ground = image[y:bottom, x:right]
    if ink.size:
        colour = 255.0 if ground.mean() < 128 else 0.0
        ground[...] = np.rint(ground + ink * (colour - ground))


def crops(count, scans, seed):
    """Crops with a digit in the middle; or with none, with a part of one, or with a small one.

    The latter are what a window sees beside a digit, or at another scale than the right one.
    """
    rng = np.random.default_rng(seed)
    images = np.empty((count, WINDOW, WINDOW, 3), "uint8")
    labels = np.full(count, NOTHING)
    # The left halves alone: the right ones are new when digits are looked for.
    grounds = FLOWER[:, :320], TEMPLE[:, :320]
    for i in range(count):
        ground, side = grounds[i % 2], int(WINDOW * 4 ** rng.uniform(0, 1))
        y, x = (rng.integers(end - side + 1) for end in ground.shape[:2])
        part = ground[y : y + side, x : x + side]
        images[i] = cvx.ops.resize(part, (WINDOW, WINDOW), antialias=True)
        kind = rng.choice(["digit", "nothing", "shifted", "large", "small"], p=KINDS)
        height, shift = HEIGHT * rng.uniform(0.85, 1.18), rng.uniform(-2.5, 2.5, 2)
        if kind == "nothing":
            continue
        if kind == "shifted":
            shift = rng.uniform(6, 20) * rng.permutation([1, rng.uniform(0, 1)])
            shift *= rng.choice([-1, 1], 2)
        if kind == "large":
            height *= rng.uniform(1.5, 3)
            shift = rng.uniform(-height / 2, height / 2, 2)
        if kind == "small":
            height *= rng.uniform(0.35, 0.6)
            shift *= 3
        index = rng.choice(scans)
        top, left = np.rint((WINDOW - 1.25 * height) / 2 + shift).astype(int)
        draw_digit(images[i], index, top, left, height)
        if kind == "digit":
            labels[i] = DIGITS.target[index]
    return images, labels


def scene(scans, photograph=TEMPLE, seed=0):
    """A photograph with fifteen digits, and their windows: boxes and labels."""
    rng = np.random.default_rng(seed)
    image, boxes, labels = photograph.copy(), [], []
    for row, column in np.ndindex(3, 5):
        height = 20 * 3 ** rng.uniform(0, 1)
        side = height * WINDOW / HEIGHT
        y, x = np.array([row, column]) * [142, 128] + rng.uniform(0, [142 - side, 128 - side])
        index = rng.choice(scans)
        margin = (side - 1.25 * height) / 2
        draw_digit(image, index, round(y + margin), round(x + margin), height)
        boxes.append([x, y, x + side, y + side])
        labels.append(DIGITS.target[index])
    return image, np.float32(boxes), np.array(labels)


# %%
# The classifier ends as most do, in ``Flatten`` and dense layers. Its convolutions pad nowhere, so
# that what it says of a window does not depend on whether it is cut out.


def digit_classifier():
    return keras.Sequential(
        [
            keras.Input((WINDOW, WINDOW, 3)),
            layers.Rescaling(1 / 127.5, -1),
            layers.Conv2D(32, 4, 2, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Conv2D(96, 3, 2, activation="relu"),
            layers.Conv2D(128, 3, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(11, activation="softmax"),
        ]
    )


def train(classifier, images, labels, epochs):
    steps = epochs * -(-len(images) // 64)
    classifier.compile(
        optimizer=keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    classifier.fit(images, labels, batch_size=64, epochs=epochs, verbose=2)


# %%
# Either detector has the classifier's weights. The pyramid reaches from digits of 20 pixels to
# those of 60.


SCALES = [1.0, 0.84, 0.71, 0.59, 0.5, 0.42, 0.35]


def detector_of(classifier, method, threshold, scales=SCALES):
    return cvx.models.SlidingWindowDetector(
        classifier,
        scales,
        method=method,
        background_classes=[NOTHING],
        non_max_suppression=cvx.layers.NonMaxSuppression(0.2, threshold),
    )


def detections(detector, image):
    found = detector.predict(image[None], verbose=0)
    count = found["num_detections"][0]
    return {name: found[name][0, :count] for name in ("boxes", "labels", "confidence")}


def timed_detections(detector, image):
    detections(detector, image)  # the first call compiles
    started = time.perf_counter()
    found = detections(detector, image)
    return found, time.perf_counter() - started


def hits(found, boxes, labels):
    """Whether each detection is of a digit, the right one, and which digits are found."""
    iou = keras.ops.convert_to_numpy(cvx.ops.pairwise_iou(boxes, found["boxes"]))
    pairs = (iou > 0.4) & (labels[:, None] == found["labels"])
    return pairs.any(0), pairs.any(1)


# %%
# Nearly all windows hold no digit, so that the classifier must be very sure. How sure is found out
# on the flower, with scans that are used for nothing else; the temple then tells how good that is.


def best_threshold(detector, scenes):
    """The one with the most right boxes among boxes and digits (F1), of some that are tried."""
    pairs = []
    for image, boxes, labels in scenes:
        found = detections(detector, image)
        pairs.append((found["confidence"], hits(found, boxes, labels)[0]))
    confidence, right = map(np.concatenate, zip(*pairs, strict=True))
    digits = sum(len(labels) for _, _, labels in scenes)
    thresholds = [0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999]
    kept = confidence > np.array(thresholds)[:, None]
    scores = 2 * (kept & right).sum(1) / (kept.sum(1) + digits)
    return thresholds[scores.argmax()]


# %%
# What one scale sees is a map: of every cell, how sure the network is of some digit in its window.


def confidence_map(network, image, scale):
    """The map of one scale, in the image's pixels: each cell at the centre of its window."""
    height, width = image.shape[:2]
    size = round(height * scale), round(width * scale)
    level = cvx.ops.resize(image, size, antialias=True)
    scores = keras.ops.convert_to_numpy(network(level[None].astype("float32")))[0]
    confidence = 1 - scores[..., NOTHING:]
    [stride] = set(network.get_layer("windows").strides)
    margin = (WINDOW - stride) // 2  # of the image, around the centres of windows
    canvas = np.zeros((*size, 1), "float32")
    rows, columns = (stride * cells for cells in confidence.shape[:2])
    enlarged = cvx.ops.resize(confidence, (rows, columns), interpolation="nearest")
    canvas[margin : margin + rows, margin : margin + columns] = enlarged
    return cvx.ops.resize(canvas, (height, width), interpolation="nearest")[..., 0]


def picture_of(image, confidence, found, right, boxes, missed):
    figure = Figure(figsize=(13, 4.7), layout="constrained")
    first, second = figure.subplots(1, 2)
    height, width = image.shape[:2]
    extent = (0, width, height, 0)
    first.imshow(image, extent=extent)
    for box, label, is_right in zip(found["boxes"], found["labels"], right, strict=True):
        outline(first, box, "#3f90da" if is_right else "#e76300", str(label))
    for box in boxes[missed]:
        outline(first, box, "#bd1f01", "missed", linestyle=":")
    first.set_title(
        f"{(~missed).sum()} of {len(boxes)} digits found; boxes of none: {(~right).sum()}"
    )
    second.imshow(image.mean(-1), extent=extent, cmap="gray", vmin=-300, vmax=255)
    seen = np.ma.masked_less(confidence, 0.02)
    shown = second.imshow(seen, extent=extent, cmap="plasma", vmin=0, vmax=1)
    figure.colorbar(shown, ax=second, label="confidence of a digit", shrink=0.8)
    second.set_title("At each window's centre, the largest of all scales")
    for axes in (first, second):
        axes.set_axis_off()
    return figure


def outline(axes, box, colour, text, linestyle="-"):
    x0, y0, x1, y1 = box
    axes.add_patch(
        Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=1.8, ls=linestyle)
    )
    style = {"fc": colour, "ec": "none", "pad": 1.0}
    axes.text(x0, y0, text, fontsize=8, va="bottom", color="white", bbox=style)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=30000, help="training crops")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES)
    parser.add_argument("--scenes", type=int, default=8, help="of each photograph")
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)

    keras.utils.set_random_seed(0)
    order = np.random.default_rng(0).permutation(len(DIGITS.target))
    seen, choosing, unseen = np.split(order, [1300, 1550])
    classifier = digit_classifier()
    train(classifier, *crops(options.crops, seen, seed=0), options.epochs)
    accuracy = classifier.evaluate(*crops(2000, unseen, seed=1), verbose=0)[1]
    print(f"Accuracy on crops of other scans: {accuracy:.3f}")

    lenient = detector_of(classifier, "convolutional", 0.5, options.scales)
    flowers = [scene(choosing, FLOWER, seed) for seed in range(options.scenes)]
    threshold = best_threshold(lenient, flowers)
    print(f"Threshold of confidence, chosen on {len(flowers)} other scenes: {threshold}")

    scenes = [scene(unseen, TEMPLE, seed) for seed in range(options.scenes)]
    image, boxes, _ = scenes[0]
    detectors = [
        detector_of(classifier, method, threshold, options.scales)
        for method in ("convolutional", "crops")
    ]
    (found, seconds), (by_crops, crop_seconds) = (timed_detections(d, image) for d in detectors)
    for name, value in found.items():
        np.testing.assert_allclose(by_crops[name], value, atol=1e-3, err_msg=name)
    print(
        f"One pass over each scale: {seconds:.2f} s. Crop by crop, the same boxes: "
        f"{crop_seconds:.2f} s, {crop_seconds / seconds:.0f} times as long."
    )

    tallies = [hits(detections(detectors[0], photo), *truth) for photo, *truth in scenes]
    right, is_found = (np.concatenate(tally) for tally in zip(*tallies, strict=True))
    print(
        f"On {len(scenes)} scenes {is_found.sum()} of {len(is_found)} digits found; boxes of none: "
        f"{(~right).sum()}."
    )

    network = cvx.backbones.convolutionalize(classifier)
    maps = [confidence_map(network, image, scale) for scale in options.scales]
    of_boxes, of_digits = tallies[0]
    figure = picture_of(image, np.max(maps, axis=0), found, of_boxes, boxes, ~of_digits)
    picture = options.output / "sliding_window.png"
    figure.savefig(picture, dpi=110)
    print(f"The picture of the first is {picture}.")
    return {"found": is_found.mean(), "ratio": crop_seconds / seconds}


if __name__ == "__main__":
    main()
