"""The most memory that one large image takes, predicted whole and tile by tile."""

import json
import sys

from tests.benchmarks.measuring import BACKENDS, in_fresh_process, peak_mebibytes, print_table

SIZES = (512, 1024, 1536, 2048)
CLASSES, TILE = 21, 512
# Name, and tiles at once; None for the whole image.
WAYS = {"`predict`": None, "tiled, 8 at once": 8, "tiled, 1 at once": 1}


def run():
    print(
        f"\nPeak resident MiB of a fresh process that predicts one image with ResNet50 and FCN-8s, "
        f"{CLASSES} classes, and in brackets by how much it grew from the image and the built "
        f"model on; tiles of {TILE} × {TILE} that share 128 pixels.\n"
    )
    rows = []
    for backend in BACKENDS:
        for way in WAYS:
            peaks = [
                in_fresh_process(["-m", "tests.benchmarks.tiled_memory", way, str(size)], backend)
                for size in SIZES
            ]
            cells = [f"{peak:.0f} ({peak - before:.0f})" for before, peak in peaks]
            rows.append([backend, way, *cells])
    print_table(["backend", "way", *(f"{size} × {size}" for size in SIZES)], rows)


def measure(way, size):
    """The peak before the prediction and after it."""
    import keras
    import numpy as np

    import keras_cvx as cvx

    backbone = keras.applications.ResNet50(
        weights=None, include_top=False, input_shape=(None, None, 3)
    )
    segmenter = cvx.models.Segmenter(backbone, CLASSES, decoder="fcn8s")
    images = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype="uint8")
    before = peak_mebibytes()
    tiles = WAYS[way]
    if tiles is None:
        found = segmenter.predict(images, verbose=0)
    else:
        found = segmenter.predict_tiled(images, TILE, batch_size=tiles)
    assert found["masks"].shape == images.shape[:3]
    return before, peak_mebibytes()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1], int(sys.argv[2]))) + "\n")
