"""What average precision adds to the evaluation of the demonstration's detector."""

import json
import sys

from tests.benchmarks.measuring import (
    BACKENDS,
    in_fresh_process,
    median_milliseconds,
    print_table,
)

BATCH_SIZE, BATCHES, SIZE, CLASSES = 16, 12, 128, 10


def run():
    print(
        f"\nMilliseconds of a step of `evaluate`, {BATCH_SIZE} images of {SIZE} × {SIZE}: "
        "prediction, decoding, suppression and loss, beside a metric that counts detections; the "
        "fastest of some 20 turns, for with either metric a step of TensorFlow takes now 60, now "
        "110 ms.\n"
    )
    rows = []
    for backend in BACKENDS:
        counting, precision = in_fresh_process(["-m", "tests.benchmarks.streaming_metric"], backend)
        rows.append([backend, counting, precision, f"{100 * (precision / counting - 1):.1f} %"])
    print_table(["backend", "counting", "MeanAveragePrecision", "added"], rows)


def measure():
    import keras

    import keras_cvx as cvx
    from tests.benchmarks.training_share import demonstration, optimizer

    class Count(keras.metrics.Metric):
        def __init__(self, name="count"):
            super().__init__(name=name)
            self.total = self.add_variable((), "zeros", dtype="float32")

        def update_state(self, y_true, y_pred, sample_weight=None):
            found = keras.ops.cast(y_pred["labels"] >= 0, "float32")
            self.total.assign(self.total + keras.ops.sum(found))

        def result(self):
            return self.total.value

    keras.saving.register_keras_serializable("benchmark")(Count)
    keras.utils.set_random_seed(0)
    scenes = cvx.datasets.digit_scenes(BATCH_SIZE * BATCHES, split="test", size=SIZE, seed=0)
    data = scenes["images"], scenes["bounding_boxes"]
    detector = cvx.models.GridDetector(demonstration().small_backbone(), num_classes=CLASSES)
    detector.compile(optimizer=optimizer())
    detector.fit(*data, batch_size=8, epochs=3, verbose=0)
    roads = []
    for metric in (Count(), cvx.metrics.MeanAveragePrecision(CLASSES)):
        # The same weights, each with a compiled step of its own.
        other = cvx.models.GridDetector.from_config(detector.get_config())
        other.set_weights(detector.get_weights())
        other.compile(metrics=[metric])
        roads.append(lambda other=other: other.evaluate(*data, batch_size=BATCH_SIZE, verbose=0))
    times = median_milliseconds(*roads, warm_up=2, seconds=45, statistic=min)
    return [time / BATCHES for time in times]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure()) + "\n")
