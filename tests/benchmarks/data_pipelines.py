"""Pipelines from JPEG files to letterboxed batches with boxes, beside what is written by hand.

All read the same files of 640 × 480 and give the same batches, or the benchmark raises: boxes
within a thousandth of a pixel, images within two grey levels of `to_tf_data`, and within eight
where TensorFlow decodes by its default, a faster and rougher transform. CPU time is of all threads
and processes; on a machine that is not idle it is what can be compared.
"""

import json
import multiprocessing.dummy
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.measuring import in_fresh_process, print_table

COUNT, BATCH, EPOCHS, TARGET, ROUNDS = 1024, 16, 2, 416, 3
HEIGHT, WIDTH, PROCESSES = 480, 640, 2
# Sides beside their peer, the first.
GROUPS = (
    ("tf.data by hand", "tf.data by hand, rounded to uint8", "to_tf_data"),
    ("OpenCV by hand, 2 processes", "to_pydataset, 2 processes"),
    ("OpenCV by hand, 2 threads", "to_pydataset, 2 threads", "to_grain"),
)


def run():
    print(
        f"\n{COUNT} photographs of {WIDTH} × {HEIGHT}, JPEG, to {TARGET} × {TARGET} with their "
        f"boxes, {BATCH} at a time; medians of {ROUNDS} fresh processes in turns.\n"
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        command = ["-m", "tests.benchmarks.data_pipelines", folder]
        in_fresh_process([*command, "check"], "tensorflow")
        for group in GROUPS:
            rounds = [
                [in_fresh_process([*command, side], "tensorflow") for side in group]
                for _ in range(ROUNDS)
            ]
            medians = [
                [statistics.median(numbers) for numbers in zip(*times, strict=True)]
                for times in zip(*rounds, strict=True)
            ]
            for side, (rate, cost) in zip(group, medians, strict=True):
                rows.append([side, rate, cost, rate / medians[0][0], medians[0][1] / cost])
    print_table(["", "images/s", "CPU ms an image", "rate ÷ peer's", "peer's CPU ÷ this"], rows)


def write(folder):
    """Photographs, cut from two at random places, and their boxes in a file as COCO's."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    random, images, annotations = np.random.default_rng(0), [], []
    for place in range(COUNT):
        width = int(random.integers(400, 561))
        height = width * HEIGHT // WIDTH
        x, y = int(random.integers(0, 641 - width)), int(random.integers(0, 428 - height))
        cut = photographs[place % 2].resize((WIDTH, HEIGHT), box=(x, y, x + width, y + height))
        name = f"{place:04}.jpg"
        cut.save(folder / name, quality=90)
        images.append({"id": place, "file_name": name, "height": HEIGHT, "width": WIDTH})
        for _ in range(random.integers(1, 14)):
            x, y = random.uniform(0, 500), random.uniform(0, 400)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": place,
                    "category_id": int(random.integers(1, 81)),
                    "bbox": [x, y, random.uniform(10, 130), random.uniform(10, 75)],
                }
            )
    categories = [{"id": place, "name": f"class {place}"} for place in range(1, 81)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))


def ours(side, folder):
    from keras_cvx.datasets import coco
    from keras_cvx.layers import ResizeWithPad

    data = coco(folder / "instances.json", folder)
    letterbox = ResizeWithPad(TARGET, TARGET, bounding_box_format="xyxy")
    options = {"batch_size": BATCH, "preprocess": letterbox}
    if side == "to_tf_data":
        return data.to_tf_data(**options).as_numpy_iterator
    if side == "to_grain":
        return data.to_grain(**options).__iter__
    workers = {"workers": PROCESSES, "use_multiprocessing": side.endswith("processes")}
    return data.to_pydataset(**options, **workers).__iter__


def known(folder):
    """What peers are told: paths, and boxes and labels in one array for all images."""
    content = json.loads((folder / "instances.json").read_text())
    paths = [str(folder / image["file_name"]) for image in content["images"]]
    found: list = [[] for _ in paths]
    for one in content["annotations"]:
        x, y, width, height = one["bbox"]
        found[one["image_id"]].append([x, y, x + width, y + height, one["category_id"] - 1])
    most = max(map(len, found))
    boxes = np.full((len(paths), most, 4), -1, "float32")
    labels = np.full((len(paths), most), -1, "int32")
    for place, rows in enumerate(found):
        for row, (*box, label) in enumerate(rows):
            boxes[place, row] = np.clip(box, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
            labels[place, row] = label
    return paths, boxes, labels


def tf_data_by_hand(folder, rounded):
    import tensorflow as tf

    def read(path, boxes, labels):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        ratio = TARGET / tf.reduce_max(size)
        offset = (TARGET - size * ratio) / 2
        boxes = boxes * ratio + tf.stack([offset[1], offset[0], offset[1], offset[0]])
        boxes = tf.where(labels[:, None] >= 0, boxes, -1.0)
        image = tf.image.resize_with_pad(image, TARGET, TARGET)
        image = tf.cast(tf.round(image), tf.uint8) if rounded else image
        return image, {"boxes": boxes, "labels": labels}

    data = tf.data.Dataset.from_tensor_slices(known(folder))
    data = data.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
    return data.prefetch(tf.data.AUTOTUNE).as_numpy_iterator


def opencv_by_hand(folder, processes):
    import cv2

    paths, boxes, labels = known(folder)

    def read(start):
        places = range(start, min(start + BATCH, len(paths)))
        images = np.zeros((len(places), TARGET, TARGET, 3), "uint8")
        moved = boxes[start : start + BATCH].copy()
        for row, place in enumerate(places):
            image = cv2.imread(paths[place], cv2.IMREAD_COLOR_RGB)
            height, width = image.shape[:2]
            ratio = TARGET / max(height, width)
            size = (int(width * ratio), int(height * ratio))
            left, top = (TARGET - size[0]) // 2, (TARGET - size[1]) // 2
            images[row, top : top + size[1], left : left + size[0]] = cv2.resize(image, size)
            moved[row] = moved[row] * ratio + np.float32([left, top, left, top])
        moved[labels[start : start + BATCH] < 0] = -1
        return images, {"boxes": moved, "labels": labels[start : start + BATCH]}

    _READ.append(read)
    pool = (multiprocessing if processes else multiprocessing.dummy).Pool(PROCESSES)
    return lambda: pool.imap(_of_worker, range(0, len(paths), BATCH))


# What workers that are forked call.
_READ: list = []


def _of_worker(start):
    return _READ[-1](start)


def pipeline_of(side, folder):
    """Function that gives the batches of an epoch."""
    import cv2

    # Or its own threads for every image take CPU time from those that read, on both sides.
    cv2.setNumThreads(1)
    folder = Path(folder)
    if side.startswith("tf.data"):
        return tf_data_by_hand(folder, side.endswith("uint8"))
    if side.startswith("OpenCV"):
        return opencv_by_hand(folder, side.endswith("processes"))
    return ours(side, folder)


def measure(side, folder):
    """Images a second, and CPU milliseconds an image."""
    epoch = pipeline_of(side, folder)
    for _ in epoch():
        pass
    cpu, start = cpu_seconds(), time.perf_counter()
    for _ in range(EPOCHS):
        count = sum(len(images) for images, _ in epoch())
        if count != COUNT:
            raise RuntimeError(f"{side} gave {count} of {COUNT} images")
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    return [EPOCHS * COUNT / seconds, 1000 * cpu / (EPOCHS * COUNT)]


def cpu_seconds():
    """Of this process and its workers, living or not."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        time.process_time()
        + ended.ru_utime
        + ended.ru_stime
        + sum(map(seconds_of, multiprocessing.active_children()))
    )


def seconds_of(worker):
    """Of a living process, on Linux (`man 5 proc`)."""
    after_name = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_name[11:13])) / 100


def check(folder):
    """Raises unless all sides give the same batches."""
    wanted = list(pipeline_of("to_tf_data", folder)())
    for side in (side for group in GROUPS for side in group):
        found = pipeline_of(side, folder)()
        for (images, targets), (others, rows) in zip(found, wanted, strict=True):
            levels = 8 if side.startswith("tf.data") else 2
            difference = np.abs(images.astype("float32") - others).max()
            shift = np.abs(targets["boxes"] - rows["boxes"]).max()
            equal = (targets["labels"] == rows["labels"]).all()
            if not equal or difference > levels or shift > 1e-3:
                raise RuntimeError(
                    f"{side} gives other batches: labels equal {equal}, images by {difference}, "
                    f"boxes by {shift}"
                )
    return True


if __name__ == "__main__":
    folder, what = sys.argv[1:]
    sys.stdout.write(json.dumps(check(folder) if what == "check" else measure(what, folder)) + "\n")
