"""
Train on your own data
======================

A folder of photographs of any sizes with a COCO file becomes a data set: read, checked, split,
letterboxed and fed to a detector, whose detections are scored in the photographs' own pixels, and
drawn.
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_cvx as cvx

# %%
# Here the folder is made first, of scenes cut to many shapes. You have one already.


def make_folder(folder, num_images):
    """Writes JPEGs of different sizes, and `annotations.json` as COCO has it."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    scenes = cvx.datasets.digit_scenes(num_images, size=160, seed=0)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for index in range(num_images):
        height, width = rng.integers(120, 161, 2).tolist()
        name = f"{index:05d}.jpg"
        Image.fromarray(scenes["images"][index, :height, :width]).save(folder / name, quality=92)
        images.append({"id": index, "file_name": name, "height": height, "width": width})
        objects = scenes["bounding_boxes"]
        for box, label in zip(objects["boxes"][index], objects["labels"][index], strict=True):
            x0, y0, x1, y1 = np.minimum(box, [width, height, width, height]).tolist()
            # What the cut has left less than half of is no digit any more.
            if label < 0 or (x1 - x0) * (y1 - y0) < 0.5 * (box[2] - box[0]) * (box[3] - box[1]):
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": int(label) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
    categories = [
        {"id": label + 1, "name": name} for label, name in enumerate(cvx.datasets.DIGIT_NAMES)
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))


# %%
# A backbone of one's own, small enough for a laptop.


def small_backbone(size):
    def convolution(x, filters, stride=1):
        x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
        return layers.Activation("relu")(layers.BatchNormalization(momentum=0.97)(x))

    inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    x = layers.Conv2D(48, 6, 4, padding="same", activation="relu")(x)
    x = convolution(x, 48)
    for filters in (96, 128, 192):
        x = convolution(convolution(x, filters, stride=2), filters)
    return keras.Model(inputs, x)


# %%
# The road of the data: read, check, split, letterbox, train.


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=128, help="of the letterboxed images")
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    keras.utils.set_random_seed(0)
    folder = options.output / "own_data"
    make_folder(folder, options.images)

    data = cvx.datasets.coco(folder / "annotations.json", images=folder)
    train, valid = data.split(0.8, seed=0, stratify=True)
    report = train.check(valid)
    print(report)
    if not report.ok:
        raise SystemExit("The data set is wrong; see above.")

    letterbox = cvx.layers.ResizeWithPad(options.size, options.size, bounding_box_format="xyxy")
    pipeline = {"batch_size": 16, "preprocess": letterbox}
    detector = cvx.models.GridDetector(small_backbone(options.size), len(data.class_names))
    detector.compile(
        optimizer=keras.optimizers.AdamW(2e-3, weight_decay=0.05),
        jit_compile=keras.backend.backend() != "torch",
    )
    detector.fit(
        train.to_pydataset(shuffle=True, drop_remainder=True, **pipeline),
        validation_data=valid.to_pydataset(**pipeline),
        epochs=options.epochs,
        verbose=2,
    )

    # With its letterbox inside, the detector takes images of any size, and its boxes are theirs.
    detector.preprocessing = letterbox
    found = detector.predict([record.image for record in valid])
    evaluation = cvx.metrics.COCOEvaluation(num_classes=len(data.class_names))
    evaluation.update_state(
        {
            "boxes": [record.boxes for record in valid],
            "labels": [record.labels for record in valid],
        },
        found,
    )
    scores = evaluation.result()
    print(f"AP {scores['AP']:.3f}, AP50 {scores['AP50']:.3f} on {len(valid)} photographs")

    images, truth = valid.to_pydataset(8, preprocess=letterbox)[0]
    figure = cvx.visualization.gallery(
        images,
        truth,
        detector.predict(images, verbose=0),
        class_names=data.class_names,
        columns=2,
    )
    picture = options.output / "own_data.png"
    figure.savefig(picture)
    print(
        f"{time.perf_counter() - started:.0f} s in all. The data lie in {folder}, "
        f"the picture is {picture}."
    )
    return scores


if __name__ == "__main__":
    main()
