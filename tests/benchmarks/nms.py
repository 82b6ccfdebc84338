"""Non-maximum suppression beside TensorFlow's kernel, KerasCV's layer and KerasHub's.

TensorFlow's kernel defines the same result: class by class, every pair of a box and a class. The
layers of KerasCV and KerasHub see one class, the best of each box; they are given that simpler
problem, and their detections are compared with ours on it.
"""

import json
import sys

import numpy as np

from tests.benchmarks.measuring import (
    in_fresh_process,
    median_milliseconds,
    peak_mebibytes,
    print_table,
)

IMAGES, CLASSES, KEPT, IOU_THRESHOLD = 8, 20, 100, 0.5
SIZES = (250, 1000, 4000)

TENSORFLOW_KERNEL = "tf.image.combined_non_max_suppression"
# Backend and contender. On TensorFlow Keras compiles by XLA where there is an accelerator, and
# makes a graph on a machine without one; on JAX it always compiles; torch is eager.
CONTENDERS = (
    ("tensorflow", TENSORFLOW_KERNEL),
    ("tensorflow", "keras-cvx, XLA"),
    ("tensorflow", "keras-cvx, graph"),
    ("jax", "keras-cvx"),
    ("jax", "KerasCV"),
    ("jax", "KerasHub"),
    ("torch", "keras-cvx"),
    ("torch", "KerasHub"),
)


def clustered(boxes):
    """Thirty objects an image, each with its cluster of boxes; most scores are low."""
    rng = np.random.default_rng(0)
    of = rng.integers(0, 30, (IMAGES, boxes))

    def per_box(values):
        return np.stack([row[choice] for row, choice in zip(values, of, strict=True)])

    size = per_box(np.exp(rng.uniform(np.log(20), np.log(200), (IMAGES, 30, 2))))
    centre = per_box(rng.uniform(30, 610, (IMAGES, 30, 2)))
    centre = centre + rng.normal(0, 0.15, centre.shape) * size
    size = size * np.exp(rng.normal(0, 0.2, size.shape))
    logits = rng.normal(-5, 1, (IMAGES, boxes, CLASSES))
    is_class = np.eye(CLASSES)[per_box(rng.integers(0, CLASSES, (IMAGES, 30)))]
    logits += is_class * rng.normal(4, 2, (IMAGES, boxes, 1))
    return _corners(centre, size), (1 / (1 + np.exp(-logits))).astype("float32")


def dense(boxes):
    """Boxes everywhere, every score as likely as any other."""
    rng = np.random.default_rng(0)
    centre, size = rng.uniform(0, 640, (IMAGES, boxes, 2)), rng.uniform(10, 200, (IMAGES, boxes, 2))
    # Each score occurs once, so that there is one right order.
    scores = rng.permutation(IMAGES * boxes * CLASSES).reshape(IMAGES, boxes, CLASSES)
    return _corners(centre, size), (scores / scores.size).astype("float32")


def _corners(centre, size):
    return np.concatenate([centre - size / 2, centre + size / 2], -1).astype("float32")


SCENES = {
    "clustered, scores above 0.01": (clustered, 0.01),
    "clustered, scores above 0.25": (clustered, 0.25),
    "dense and random, scores above 0.01": (dense, 0.01),
}


def run():
    print(
        f"\nMilliseconds for {IMAGES} images, {CLASSES} classes, {KEPT} detections kept, median "
        "after warm-up. Memory is the growth of the process's peak, compilation included."
    )
    for scene in SCENES:
        results = {
            (backend, name): in_fresh_process(["-m", "tests.benchmarks.nms", name, scene], backend)
            for backend, name in CONTENDERS
        }
        kernel = results["tensorflow", TENSORFLOW_KERNEL]["milliseconds"][SIZES.index(1000)]
        print(f"\n### {scene}\n")
        print_table(
            ["backend", "", *(f"{size} boxes" for size in SIZES),
             "of TensorFlow's kernel at 1000", "MiB at 4000", "same detections"],
            [
                [*contender, *result["milliseconds"],
                 f"{result['milliseconds'][SIZES.index(1000)] / kernel:.2f} ×",
                 result["mebibytes"], result["same"]]
                for contender, result in results.items()
            ],
        )  # fmt: skip


def measure(contender, scene):
    """One contender on one scene of every size, the small ones first."""
    from keras import ops

    make, threshold = SCENES[scene]
    function, compares_best_class = prepared(contender, threshold)
    ours, _ = prepared("keras-cvx", threshold)
    milliseconds, shares = [], []
    before = peak_mebibytes()
    for size in SIZES:
        arrays = make(size)
        tensors = [ops.convert_to_tensor(array) for array in arrays]
        milliseconds.extend(median_milliseconds(lambda given=tensors: finished(function(*given))))
    mebibytes = peak_mebibytes() - before
    for size in SIZES:
        boxes, scores = make(size)
        if compares_best_class:
            scores = scores.max(-1, keepdims=True)
        shares.append(agreement(finished(function(boxes, scores)), finished(ours(boxes, scores))))
    same = "–" if contender.startswith("keras-cvx") else f"{100 * min(shares):.1f} %"
    return {"milliseconds": milliseconds, "mebibytes": mebibytes, "same": same}


def prepared(contender, threshold):
    """Function of boxes and scores to boxes, confidence and number, compiled where it can be.

    Also whether it takes one class a box.
    """
    import keras

    if contender == TENSORFLOW_KERNEL:
        return tensorflow_kernel(threshold), False
    if contender.startswith("keras-cvx"):
        from keras_cvx.layers import NonMaxSuppression

        layer = NonMaxSuppression(IOU_THRESHOLD, threshold, max_detections=KEPT)
    else:
        package = {"KerasCV": "keras_cv", "KerasHub": "keras_hub"}[contender]
        layer = __import__(package).layers.NonMaxSuppression(
            "xyxy", from_logits=False, iou_threshold=IOU_THRESHOLD,
            confidence_threshold=threshold, max_detections=KEPT,
        )  # fmt: skip

    def suppress(boxes, scores):
        found = layer(boxes, scores)
        return found["boxes"], found["confidence"], found["num_detections"]

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        suppress = jax.jit(suppress)
    elif backend == "tensorflow":
        import tensorflow as tf

        suppress = tf.function(suppress, jit_compile="graph" not in contender)
    else:
        import torch

        suppress = torch.no_grad()(suppress)
    return suppress, not contender.startswith("keras-cvx")


def tensorflow_kernel(threshold):
    import tensorflow as tf

    @tf.function
    def suppress(boxes, scores):
        found = tf.image.combined_non_max_suppression(
            boxes[:, :, None], scores, KEPT, KEPT, IOU_THRESHOLD, threshold, clip_boxes=False
        )
        return found.nmsed_boxes, found.nmsed_scores, found.valid_detections

    return suppress


def finished(results):
    """The results as arrays; waits for them, as anyone must who uses them."""
    from keras import ops

    return [ops.convert_to_numpy(result) for result in results]


def agreement(found, expected):
    """Share of the expected detections that the other found at the same rank."""
    same = total = 0
    for *theirs, their_count, boxes, confidence, count in zip(*found, *expected, strict=True):
        total += max(int(count), int(their_count))
        n = min(int(count), int(their_count))
        same += np.sum(
            np.isclose(theirs[1][:n], confidence[:n], atol=1e-6)
            & np.all(np.isclose(theirs[0][:n], boxes[:n], atol=1e-3), -1)
        )
    return float(same / max(total, 1))


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
