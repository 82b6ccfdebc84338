"""Building a feature extractor, and what its forward pass costs, beside the backbone alone."""

import json
import statistics
import time

import numpy as np

from tests.benchmarks.measuring import (
    BACKENDS,
    in_fresh_process,
    median_milliseconds,
    print_table,
)

SIZE, BATCH, STRIDES = 224, 8, [8, 16, 32]


def run():
    print(
        f"\nResNet50 at {SIZE} × {SIZE} without its top: bare, from `backbones.get` with the "
        f"extractor of the strides {STRIDES} on it, and that extractor alone, on the bare model or "
        "on one behind a rescaling as a nested model. Seconds to build, medians of 5; milliseconds "
        f"of {BATCH} images as `predict` runs them, in turns with a model built by hand on the "
        "layers that are tapped."
    )
    header = ["backend", "ResNet50, s", "get and extractor, s", "extractor, s", "nested, s",
              "by hand, ms", "extractor, ms", "ratio", "nested, ms", "ratio"]  # fmt: skip
    rows = []
    for backend in BACKENDS:
        found = in_fresh_process(["-m", "tests.benchmarks.backbones"], backend)
        by_hand, extractor, nested = found["milliseconds"]
        rows.append(
            [backend, *found["seconds"], by_hand, extractor, f"{extractor / by_hand:.3f}",
             nested, f"{nested / by_hand:.3f}"]
        )  # fmt: skip
    print()
    print_table(header, rows)


def measure():
    import keras

    from keras_cvx import backbones
    from keras_cvx.backbones import FeatureExtractor, measure_strides

    def resnet():
        return keras.applications.ResNet50(
            weights=None, include_top=False, input_shape=(SIZE, SIZE, 3)
        )

    def adapter():
        backbone = backbones.get("ResNet50", weights=None, input_shape=(SIZE, SIZE, 3))
        return FeatureExtractor(backbone, STRIDES)

    backbone = resnet()
    inputs = keras.Input((SIZE, SIZE, 3))
    nested = keras.Model(inputs, backbone(keras.layers.Rescaling(1.0)(inputs)))
    seconds = [
        median_seconds(build)
        for build in (
            resnet,
            adapter,
            lambda: FeatureExtractor(backbone, STRIDES),
            lambda: FeatureExtractor(nested, STRIDES),
        )
    ]
    taps = [measure_strides(backbone)[stride]._keras_history.operation for stride in STRIDES]
    by_hand = keras.Model(backbone.input, [backbone.get_layer(tap.name).output for tap in taps])
    images = np.random.default_rng(0).uniform(0, 255, (BATCH, SIZE, SIZE, 3)).astype("float32")
    passes = [
        lambda model=model: model.predict_on_batch(images)
        for model in (
            by_hand,
            FeatureExtractor(backbone, STRIDES),
            FeatureExtractor(nested, STRIDES),
        )
    ]
    return {
        "seconds": seconds,
        "milliseconds": median_milliseconds(*passes, repeats=15, seconds=20),
    }


def median_seconds(build, repeats=5):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        build()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    print(json.dumps(measure()))
