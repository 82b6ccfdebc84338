"""COCO's exact evaluation beside pycocotools and faster-coco-eval, on the same boxes.

What is timed of the peers is `evaluate` and `accumulate`, with the index and the results loaded
beforehand; of ours all that follows the detector, `update_state` by batches and `result`.
"""

import contextlib
import importlib.metadata
import io
import json
import sys
import time

import numpy as np

from tests.benchmarks.measuring import in_fresh_process, peak_mebibytes, print_table

BATCH = 50
# Images, objects and detections an image, classes.
SCENES = {
    "5,000 images, 10 objects, 100 detections, 20 classes": (5000, 10, 100, 20),
    "5,000 images, 20 objects, 100 detections, 1 class": (5000, 20, 100, 1),
    "5,000 images, 10 objects, 100 detections, 80 classes": (5000, 10, 100, 80),
}
CONTENDERS = ("keras-cvx", "faster-coco-eval", "pycocotools")


def scene(images, objects, detections, classes):
    """Ground truth in COCO's format; half of the detections are shaken copies of it."""
    rng = np.random.default_rng(0)

    def boxes(count):
        corner = rng.uniform(0, 500, (images, count, 2))
        side = np.exp(rng.uniform(np.log(8), np.log(250), (images, count, 2)))
        return np.concatenate([corner, side], -1)

    truth, labels = boxes(objects), rng.integers(0, classes, (images, objects))
    copies = rng.integers(0, objects, (images, detections))
    of_truth = np.take_along_axis(truth, copies[..., None], 1)
    shaken = of_truth + rng.normal(0, 0.1, of_truth.shape) * np.tile(of_truth[..., 2:], 2)
    right = rng.uniform(size=(images, detections)) < 0.5
    confidence = np.clip(rng.normal(0.3 + 0.3 * right, 0.2), 0, 1)
    found_labels = np.take_along_axis(labels, copies, 1)
    return (
        {
            "boxes": np.round(truth, 2),
            "labels": labels,
            "is_crowd": rng.uniform(size=labels.shape) < 0.02,
        },
        {
            "boxes": np.round(np.where(right[..., None], shaken, boxes(detections)), 2),
            "labels": np.where(right, found_labels, rng.integers(0, classes, found_labels.shape)),
            "confidence": np.round(confidence, 3),
        },
    )


def run():
    for name in SCENES:
        results = {
            contender: in_fresh_process(
                ["-m", "tests.benchmarks.coco_evaluation", contender, name], "tensorflow"
            )
            for contender in CONTENDERS
        }
        expected = results["pycocotools"]["stats"]
        for contender, result in results.items():
            if not np.allclose(result["stats"], expected, rtol=0, atol=1e-9):
                raise ValueError(f"{contender} has {result['stats']}, pycocotools {expected}")
        peer = results["faster-coco-eval"]["seconds"]
        print(f"\n### {name}\n\nAP {expected[0]:.4f} and the other eleven: the same to 1e-9.\n")
        print_table(
            ["", "seconds", "of faster-coco-eval", "seconds to load", "MiB"],
            [
                [_named(contender), result["seconds"], f"{result['seconds'] / peer:.2f} ×",
                 result["load"], result["mebibytes"]]
                for contender, result in results.items()
            ],
        )  # fmt: skip


def measure(contender, name):
    """The twelve numbers, seconds, and the growth of the process' peak."""
    truth, found = scene(*SCENES[name])
    prepare = ours if contender == "keras-cvx" else peer
    evaluate = prepare(contender, truth, found, SCENES[name][-1])
    before = peak_mebibytes()
    start = time.perf_counter()
    evaluate = evaluate()
    loaded = time.perf_counter()
    stats = evaluate()
    return {
        "stats": stats,
        "load": loaded - start if contender != "keras-cvx" else None,
        "seconds": time.perf_counter() - loaded,
        "mebibytes": peak_mebibytes() - before,
    }


def ours(_, truth, found, classes):
    from keras_cvx.metrics import COCOEvaluation

    def evaluate():
        evaluation = COCOEvaluation(classes, bounding_box_format="xywh")
        for start in range(0, len(truth["labels"]), BATCH):
            some = slice(start, start + BATCH)
            evaluation.update_state(
                {key: value[some] for key, value in truth.items()},
                {key: value[some] for key, value in found.items()},
            )
        return list(evaluation.result().values())

    return lambda: evaluate


def peer(contender, truth, found, classes):
    if contender == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluation
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluation

    def rows(source):
        boxes, labels = source["boxes"].tolist(), source["labels"].tolist()
        for image, (of_image, classes_of) in enumerate(zip(boxes, labels, strict=True)):
            for row, (box, label) in enumerate(zip(of_image, classes_of, strict=True)):
                yield image, row, {"image_id": image, "category_id": label, "bbox": box}

    crowd, confidence = truth["is_crowd"].tolist(), found["confidence"].tolist()
    truths = [
        {**row, "id": n + 1, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": int(crowd[i][r])}
        for n, (i, r, row) in enumerate(rows(truth))
    ]
    results = [{**row, "score": confidence[i][r]} for i, r, row in rows(found)]
    dataset = {
        "images": [{"id": i} for i in range(len(truth["labels"]))],
        "annotations": truths,
        "categories": [{"id": c, "name": str(c)} for c in range(classes)],
    }

    def load():
        with contextlib.redirect_stdout(io.StringIO()):
            ground = COCO()
            ground.dataset = dataset
            ground.createIndex()
            evaluation = Evaluation(ground, ground.loadRes(results), "bbox")

        def evaluate():
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation.evaluate()
                evaluation.accumulate()
                evaluation.summarize()
            return [float(x) for x in evaluation.stats[:12]]

        return evaluate

    return load


def _named(contender):
    if contender == "keras-cvx":
        return contender
    return f"{contender} {importlib.metadata.version(contender)}"


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
