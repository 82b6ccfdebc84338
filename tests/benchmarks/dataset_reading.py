"""Time and memory of reading annotations, as a function of the number of records.

The files are made as COCO's are: of 118,000 images and 860,000 objects, and of fewer in proportion,
with boxes alone or with outlines too. pycocotools reads the same files. Whether an image's file is
there is not looked at, for there are none.
"""

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.measuring import in_fresh_process, peak_mebibytes, print_table

COUNTS = (1_000, 10_000, 100_000, 118_000)
OBJECTS_PER_IMAGE = 860 / 118
POINTS = 22
SIDES = ("keras-cvx coco", "pycocotools COCO")


def run():
    for outlines in (False, True):
        kind = f"boxes and outlines of {POINTS} points" if outlines else "boxes"
        print(f"\nReading {kind}; growth of the most memory held.\n")
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            for count in COUNTS:
                path = Path(folder) / "instances.json"
                objects = write(path, count, outlines)
                row = [f"{count:,}", f"{objects:,}", path.stat().st_size / 2**20]
                for side in SIDES:
                    arguments = ["-m", "tests.benchmarks.dataset_reading", side, str(path)]
                    row += in_fresh_process(arguments, "tensorflow")
                rows.append(row)
        header = ["images", "objects", "file, MiB"]
        print_table([*header, *(f"{side}, {x}" for side in SIDES for x in ("s", "MiB"))], rows)


def write(path, num_images, outlines):
    """Writes such a file and returns the number of its objects."""
    generator = random.Random(0)  # noqa: S311
    num_objects = round(num_images * OBJECTS_PER_IMAGE)
    with path.open("w") as file:
        file.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        for place in range(num_images):
            image = {
                "license": 1,
                "file_name": f"{place:012d}.jpg",
                "coco_url": f"http://images.cocodataset.org/train2017/{place:012d}.jpg",
                "height": 480,
                "width": 640,
                "date_captured": "2013-11-14 16:28:13",
                "id": 3 * place + 9,
            }
            file.write(", " * (place > 0) + json.dumps(image))
        file.write('], "annotations": [')
        for place in range(num_objects):
            x, y = generator.uniform(0, 500), generator.uniform(0, 300)
            box = [round(value, 2) for value in (x, y, x / 4 + 1, y / 2 + 1)]
            points = [round(generator.uniform(0, 480), 2) for _ in range(2 * POINTS * outlines)]
            annotation = {
                "segmentation": [points] if outlines else [],
                "area": round(box[2] * box[3], 4),
                "iscrowd": 0,
                "image_id": 3 * generator.randrange(num_images) + 9,
                "bbox": box,
                "category_id": generator.randrange(1, 81),
                "id": place + 1,
            }
            file.write(", " * (place > 0) + json.dumps(annotation))
        categories = [{"supercategory": "x", "id": i, "name": f"c{i}"} for i in range(1, 81)]
        file.write(f'], "categories": {json.dumps(categories)}}}')
    return num_objects


def measure(side, path):
    """Seconds and MiB."""
    if side == SIDES[0]:
        from keras_cvx.datasets import coco

        os.path.isfile = lambda path: True
        before, start = peak_mebibytes(), time.perf_counter()
        data = coco(path, Path(path).parent)
    else:
        import contextlib
        import io

        from pycocotools.coco import COCO

        before, start = peak_mebibytes(), time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            data = COCO(path)
    seconds = time.perf_counter() - start
    del data
    return [seconds, peak_mebibytes() - before]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(*sys.argv[1:])) + "\n")
