"""
Evaluate a file of detections
=============================

A file of ground truth and one of detections, both as COCO has them, give COCO's twelve numbers, as
pycocotools prints them, and the curves of precision over recall. Without files a small pair is
written first.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import keras_cvx as cvx

# %%
# The files name images and categories by numbers of their own. The evaluation wants labels from 0
# on, and one array for each image; boxes stay as they are, ``x, y, width, height``.


def rows_by_image(annotations, image_ids):
    rows = {image: [] for image in image_ids}
    for annotation in annotations:
        rows[annotation["image_id"]].append(annotation)
    return rows.values()


def check_files(truth, found):
    if not isinstance(truth, dict) or not isinstance(found, list):
        raise ValueError("The first file must be of ground truth, the second of detections")
    for key, known in (("image_id", truth["images"]), ("category_id", truth["categories"])):
        unknown = {row[key] for row in [*truth["annotations"], *found]} - {x["id"] for x in known}
        if unknown:
            raise ValueError(f"The ground truth must list every {key}; it lacks {sorted(unknown)}")


def read(ground_truth, detections):
    """Both sides as ``update_state`` takes them, and the names of the classes."""
    truth, found = (json.loads(Path(p).read_text("utf-8")) for p in (ground_truth, detections))
    check_files(truth, found)
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    label_of = {category["id"]: label for label, category in enumerate(categories)}
    image_ids = [image["id"] for image in truth["images"]]

    def columns(annotations, **keys):
        rows = rows_by_image(annotations, image_ids)
        sides = {
            "boxes": [[row["bbox"] for row in image] for image in rows],
            "labels": [[label_of[row["category_id"]] for row in image] for image in rows],
        }
        return sides | {
            ours: [[row[theirs] for row in image] for image in rows]
            for ours, theirs in keys.items()
        }

    y_true = columns(truth["annotations"], areas="area", is_crowd="iscrowd")
    y_true["image_ids"] = image_ids
    names = [category["name"] for category in categories]
    return y_true, columns(found, confidence="score"), names


# %%
# The twelve numbers, line by line as pycocotools prints them.


def summary(scores):
    lines = []
    for name, score in scores.items():
        precision = name.startswith("AP")
        title = "Average Precision  (AP)" if precision else "Average Recall     (AR)"
        rest = name[2:]
        threshold = f"0.{rest}" if rest in ("50", "75") else "0.50:0.95"
        area = {"s": "small", "m": "medium", "l": "large"}.get(rest, "all")
        most = rest if rest in ("1", "10") else "100"
        lines.append(
            f" {title} @[ IoU={threshold:<9} | area={area:>6} | maxDets={most:>3} ] = {score:0.3f}"
        )
    return "\n".join(lines)


# %%
# The curves, in two pictures: of each class at an IoU of 0.5, and of the mean of the classes at
# each threshold of IoU, whose mean in turn is AP.


def draw(evaluation, class_names):
    """Figures by name."""
    curves, table = evaluation.precision_recall(), evaluation.per_class()
    recall, precision = curves["recall"], curves["precision"]
    means = precision[table["num_truths"] > 0].mean(0)
    thresholds = [f"IoU {threshold:.2f}" for threshold in np.linspace(0.5, 0.95, 10)]
    plot = cvx.visualization.precision_recall
    return {
        "precision_recall": plot(recall, precision[:, 0], class_names=class_names),
        "precision_recall_by_iou": plot(recall, means, class_names=thresholds),
    }


# %%
# A pair of files, for want of others: the digits of some scenes, shaken, some of them confused or
# missed, and false alarms.


def write_pair(folder, num_scenes=200):
    scenes = cvx.datasets.digit_scenes(num_scenes, split="test", size=288)
    boxes = cvx.ops.convert(scenes["bounding_boxes"]["boxes"], "xyxy", "xywh").tolist()
    labels = scenes["bounding_boxes"]["labels"].tolist()
    rng = np.random.default_rng(0)
    annotations, detections = [], []

    def detect(image, box, label, score):
        box = [round(float(x), 2) for x in box]
        score = round(float(np.clip(score, 0, 1)), 4)
        detections.append(
            {"image_id": image, "category_id": label + 1, "bbox": box, "score": score}
        )

    for image, (of_image, labels_of_image) in enumerate(zip(boxes, labels, strict=True)):
        for box, label in zip(of_image, labels_of_image, strict=True):
            if label < 0:
                continue
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": label + 1,
                "bbox": box, "area": box[2] * box[3], "iscrowd": int(rng.uniform() < 0.02),
            })  # fmt: skip
            for _ in range(rng.choice([0, 1, 2], p=[0.08, 0.8, 0.12])):
                shake = rng.exponential(0.05)
                moved = box + shake * rng.normal(size=4) * np.tile(box[2:], 2)
                seen = label if rng.uniform() < 0.9 else int(rng.integers(10))
                detect(
                    image,
                    moved,
                    seen,
                    0.85 - 2 * shake - 0.3 * (seen != label) + rng.normal(0, 0.1),
                )
        for _ in range(rng.poisson(1.5)):
            box = [*rng.uniform(0, 200, 2), *rng.uniform(20, 90, 2)]
            detect(image, box, int(rng.integers(10)), rng.normal(0.3, 0.15))
    truth = {
        "images": [
            {"id": i, "file_name": f"{i:06}.png", "width": 288, "height": 288}
            for i in range(num_scenes)
        ],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": n} for i, n in enumerate(cvx.datasets.DIGIT_NAMES)],
    }
    files = folder / "ground_truth.json", folder / "detections.json"
    for file, content in zip(files, (truth, detections), strict=True):
        file.write_text(json.dumps(content), "utf-8")
    print(f"Written: {files[0]} and {files[1]}.")
    return files


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ground_truth", type=Path, nargs="?", help="COCO's file of annotations")
    parser.add_argument("detections", type=Path, nargs="?", help="COCO's file of results")
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    options = parser.parse_args(arguments)
    if (options.ground_truth is None) != (options.detections is None):
        parser.error("give both files or none")
    options.output.mkdir(parents=True, exist_ok=True)
    files = options.ground_truth, options.detections
    if None in files:
        files = write_pair(options.output)

    y_true, y_pred, class_names = read(*files)
    evaluation = cvx.metrics.COCOEvaluation(len(class_names), bounding_box_format="xywh")
    evaluation.update_state(y_true, y_pred)
    scores = evaluation.result()
    print(summary(scores))

    for name, figure in draw(evaluation, class_names).items():
        picture = options.output / f"{name}.png"
        figure.savefig(picture)
        print(f"A picture is {picture}.")
    return scores


if __name__ == "__main__":
    main()
