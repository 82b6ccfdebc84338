"""
Letterbox, crop and restore
===========================

One photograph goes through the three preprocessing layers. Its boxes and its mask move with the
pixels, and what is found in the result comes back to the photograph: nothing has moved.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import keras_cvx as cvx

# %%
# A photograph that is wider than high, with digits in it. A sample is a dictionary with the keys
# that Keras' own preprocessing layers use.


def photograph():
    scenes = cvx.datasets.digit_scenes(40, split="test", size=256, seed=4)
    boxes, labels = scenes["bounding_boxes"]["boxes"], scenes["bounding_boxes"]["labels"]
    # The scene with most digits of which none is cut off by the slice.
    top, bottom = 48, 208
    whole = ((boxes[..., 1] >= top) & (boxes[..., 3] <= bottom)) | (labels < 0)
    index = np.argmax(np.where(whole.all(-1), (labels >= 0).sum(-1), -1))
    return {
        "images": scenes["images"][index, top:bottom],
        "segmentation_masks": scenes["segmentation_masks"][index, top:bottom],
        "bounding_boxes": {
            "boxes": np.where(labels[index, :, None] < 0, -1, boxes[index] - [0, top, 0, top]),
            "labels": labels[index],
        },
    }


# %%
# Each layer gives the sample back with ``"geometry"``, the record of how the image was moved.


def transformed(sample):
    letterbox = cvx.layers.ResizeWithPad(192, 192, bounding_box_format="xyxy")
    crop = cvx.layers.ResizeWithCropOrPad(
        192, 192, bounding_box_format="xyxy", min_visible=0.3, fill_value=128
    )
    augment = cvx.layers.RandomCropAndResize(
        192, 192, bounding_box_format="xyxy", scale=(0.3, 0.6), min_visible=0.3, seed=3
    )
    return {
        "ResizeWithPad": letterbox(sample),
        "ResizeWithCropOrPad": crop(sample),
        "RandomCropAndResize": augment(sample, training=True),
    }


# %%
# A detector sees the letterboxed image only; its detections are restored to the photograph. Here
# the letterboxed boxes stand for them.


def restored(letterboxed):
    boxes = letterboxed["bounding_boxes"]["boxes"]
    return cvx.geometry.restore_boxes(boxes, letterboxed["geometry"])


def draw(axes, sample, boxes=None, title=""):
    image, mask = sample["images"], sample["segmentation_masks"]
    height, width = mask.shape
    # Pixel i covers [i, i + 1), so that corners lie on the edges of pixels.
    extent = (0, width, height, 0)
    axes.imshow(image, extent=extent, interpolation="nearest")
    ink = np.ma.masked_where((mask == 0) | (mask == 255), mask)
    axes.imshow(
        ink, extent=extent, interpolation="nearest", cmap="cool", vmin=1, vmax=10, alpha=0.55
    )
    axes.imshow(
        np.ma.masked_where(mask != 255, mask), extent=extent, interpolation="nearest",
        cmap="gray", vmin=0, vmax=300,
    )  # fmt: skip
    labels = sample["bounding_boxes"]["labels"]
    for found, colour, style in (
        (sample["bounding_boxes"]["boxes"], "#ffa90e", "-"), (boxes, "#3f3fff", (0, (3, 3))),
    ):  # fmt: skip
        for box, label in zip(found if found is not None else [], labels, strict=False):
            if label >= 0:
                x0, y0, x1, y1 = box
                axes.add_patch(
                    Rectangle(
                        (x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, ls=style, lw=1.6,
                    )
                )  # fmt: skip
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)

    sample = photograph()
    results = transformed(sample)
    back = restored(results["ResizeWithPad"])

    figure = Figure(figsize=(11, 5.6), layout="constrained")
    grid = figure.add_gridspec(2, 6)
    first, last = figure.add_subplot(grid[0, :3]), figure.add_subplot(grid[0, 3:])
    draw(first, sample, title="the photograph, its boxes and its mask")
    draw(last, sample, back, title="dashed: restored from the letterboxed image")
    for column, (name, result) in enumerate(results.items()):
        draw(figure.add_subplot(grid[1, 2 * column : 2 * column + 2]), result, title=name)
    picture = options.output / "letterbox.png"
    figure.savefig(picture, dpi=140)

    there = sample["bounding_boxes"]["labels"] >= 0
    error = np.abs(back - sample["bounding_boxes"]["boxes"])[there].max()
    print(f"The restored boxes are off by {error:.1e} pixels at most. The picture is {picture}.")
    return error


if __name__ == "__main__":
    main()
