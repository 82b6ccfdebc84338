"""Average precision after equal minutes of training, beside KerasCV's `YOLOV8Detector`.

Both sides see the same scenes and use AdamW with one schedule, which goes by the clock; the clock
starts after the first step, so that compilation is not counted. pycocotools scores the detections
of both. The peer is the smallest that KerasCV has a preset for, built from classes.
"""

import argparse
import contextlib
import io
import json
import math
import sys
import time

from tests.benchmarks.measuring import in_fresh_process, print_table
from tests.benchmarks.training_share import demonstration

SCENES, TEST_SCENES, SIZE, CLASSES = 6000, 400, 128, 10
MINUTES = 10.0
# Function that makes the detector, batch size and peak learning rate.
SIDES = {
    "keras-cvx GridDetector, batches of 8": ("ours", 8, 1.5e-3),
    "KerasCV YOLOV8Detector, batches of 16": ("peer", 16, 2e-3),
}


def run():
    print(f"\n{SCENES} scenes of {SIZE} × {SIZE}, {MINUTES:g} minutes on TensorFlow.\n")
    rows = []
    for side in SIDES:
        arguments = ["-m", "tests.benchmarks.accuracy", side, "--minutes", str(MINUTES)]
        rows.append([side, *in_fresh_process(arguments, "tensorflow")])
    print_table(["detector", "million weights", "steps", "AP", "AP50", "AP75"], rows)
    print(f"\nDifference in AP: {rows[0][3] - rows[1][3]:+.3f}")


def measure(side, minutes):
    """Million weights, steps, AP, AP50, AP75."""
    import keras

    import keras_cvx as cvx

    keras.utils.set_random_seed(0)
    train = cvx.datasets.digit_scenes(SCENES, split="train", size=SIZE, seed=0)
    test = cvx.datasets.digit_scenes(TEST_SCENES, split="test", size=SIZE, seed=0)
    make, batch_size, rate = SIDES[side]
    model, truth = {"ours": ours, "peer": peer}[make](rate, train["bounding_boxes"])
    model.fit(
        train["images"],
        truth,
        batch_size=batch_size,
        epochs=10_000,
        callbacks=[time_budget(60 * minutes, rate)],
        verbose=0,
    )
    found = model.predict(test["images"], verbose=0)
    found["labels"] = found.pop("classes", found.get("labels"))
    scores = coco_scores(test["bounding_boxes"], found)
    return [model.count_params() / 1e6, int(model.optimizer.iterations), *scores]


def ours(rate, truth):
    import keras

    import keras_cvx as cvx

    backbone = demonstration("detect_digits").small_backbone()
    detector = cvx.models.GridDetector(backbone, num_classes=CLASSES)
    # Compiled by XLA, as the demonstration is.
    detector.compile(optimizer=keras.optimizers.AdamW(rate, weight_decay=0.05), jit_compile=True)
    return detector, truth


def peer(rate, truth):
    import keras
    import keras_cv

    backbone = keras_cv.models.YOLOV8Backbone(
        stackwise_channels=[32, 64, 128, 256],
        stackwise_depth=[1, 2, 2, 1],
        include_rescaling=True,
        input_shape=(SIZE, SIZE, 3),
    )
    detector = keras_cv.models.YOLOV8Detector(
        backbone,
        num_classes=CLASSES,
        bounding_box_format="xyxy",
        fpn_depth=1,
        # Its own keeps nothing below a confidence of 0.2, which costs average precision.
        prediction_decoder=keras_cv.layers.NonMaxSuppression(
            "xyxy", from_logits=False, confidence_threshold=0.01, iou_threshold=0.5
        ),
    )
    detector.compile(
        # Gradients clipped as KerasCV's guide has them.
        optimizer=keras.optimizers.AdamW(rate, weight_decay=0.05, global_clipnorm=10.0),
        box_loss="ciou",
        classification_loss="binary_crossentropy",
        jit_compile=False,
    )
    return detector, {"boxes": truth["boxes"], "classes": truth["labels"].astype("float32")}


def time_budget(seconds, rate):
    """Callback that warms up for a twentieth of the time, decays as a cosine to 0, then stops."""
    import keras

    class TimeBudget(keras.callbacks.Callback):
        start = None

        def on_train_batch_begin(self, batch, logs=None):
            share = 0.0 if self.start is None else (time.perf_counter() - self.start) / seconds
            decay = 0.5 * (1.0 + math.cos(math.pi * min(max(share - 0.05, 0.0) / 0.95, 1.0)))
            self.model.optimizer.learning_rate = rate * min(share / 0.05 + 1e-3, 1.0) * decay

        def on_train_batch_end(self, batch, logs=None):
            self.start = self.start or time.perf_counter()
            if time.perf_counter() - self.start >= seconds:
                self.model.stop_training = True

    return TimeBudget()


def coco_scores(truth, found):
    """AP, AP50 and AP75 by pycocotools."""
    import numpy as np
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def rows(boxes, labels, **more):
        for image, row in np.argwhere(labels >= 0).tolist():
            x0, y0, x1, y1 = boxes[image, row].tolist()
            yield {
                "image_id": image,
                "category_id": int(labels[image, row]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
                **{key: float(value[image, row]) for key, value in more.items()},
            }

    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO()
        expected.dataset = {
            "images": [{"id": i} for i in range(len(truth["boxes"]))],
            "categories": [{"id": i} for i in range(CLASSES)],
            "annotations": [
                {"id": i, **row} for i, row in enumerate(rows(truth["boxes"], truth["labels"]), 1)
            ],
        }
        expected.createIndex()
        detected = expected.loadRes(
            list(rows(found["boxes"], found["labels"], score=found["confidence"]))
        )
        evaluation = COCOeval(expected, detected, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(score) for score in evaluation.stats[:3]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(measure(options.side, options.minutes)) + "\n")
