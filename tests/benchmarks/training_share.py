"""What detection adds to the backbone, in a training step and in inference.

The demonstration's model on its own data, compiled as `fit` and `predict` compile it, beside the
backbone alone: the same images and optimizer, the mean square of the outputs as its loss.
"""

import importlib.util
import json
import sys

from tests.benchmarks.measuring import HERE, in_fresh_process, median_milliseconds, print_table

BACKENDS = ("tensorflow",)
BATCH_SIZE, SIZE, CLASSES = 8, 128, 10
# Enough for scores like those of a detector: the untrained one would keep nothing, or everything.
TRAINING_SCENES, EPOCHS = 320, 2


def run():
    print(f"\nMilliseconds for a batch of {BATCH_SIZE} images of {SIZE} × {SIZE}.\n")
    results = {
        backend: in_fresh_process(["-m", "tests.benchmarks.training_share"], backend)
        for backend in BACKENDS
    }
    print_table(
        ["backend", "part", "step without it", "whole step", "share"],
        [
            [backend, part, without, whole, f"{100 * (1 - without / whole):.0f} %"]
            for backend, parts in results.items()
            for part, (without, whole) in parts.items()
        ],
    )


def measure():
    import keras

    import keras_cvx as cvx

    keras.utils.set_random_seed(0)
    make_backbone = demonstration("detect_digits").small_backbone
    detector = cvx.models.GridDetector(make_backbone(), num_classes=CLASSES)
    detector.compile(optimizer=optimizer())
    scenes = cvx.datasets.digit_scenes(TRAINING_SCENES, split="train", size=SIZE, seed=0)
    truth = scenes["bounding_boxes"]
    detector.fit(scenes["images"], truth, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0)

    images = scenes["images"][:BATCH_SIZE]
    truth = {key: value[:BATCH_SIZE] for key, value in truth.items()}
    backbone, headed = make_backbone(), keras.Model(detector.inputs, detector.outputs)
    features, predictions, detections = median_milliseconds(
        lambda: backbone.predict_on_batch(images),
        lambda: headed.predict_on_batch(images),
        lambda: detector.predict_on_batch(images),
        seconds=10,
    )
    # Weights of their own, because these lose what the detector has learned.
    other = cvx.models.GridDetector(make_backbone(), num_classes=CLASSES)
    backbone, headed = of_no_loss(backbone), of_no_loss(keras.Model(other.inputs, other.outputs))
    without, with_head, whole = median_milliseconds(
        lambda: backbone.train_on_batch(images),
        lambda: headed.train_on_batch(images),
        lambda: detector.train_on_batch(images, truth),
        seconds=30,
    )
    return {
        "training: head, decoding, assignment, loss": (without, whole),
        "training: decoding, assignment, loss": (with_head, whole),
        "inference: head, decoding, suppression": (features, detections),
        "inference: decoding, suppression": (predictions, detections),
    }


def of_no_loss(model):
    """The same graph, trained to make its outputs small."""
    import keras

    class OfNoLoss(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            outputs = keras.tree.flatten(y_pred)
            return sum(keras.ops.mean(keras.ops.square(output)) for output in outputs)

    trained = OfNoLoss(model.inputs, model.outputs)
    trained.compile(optimizer=optimizer())
    return trained


def optimizer():
    import keras

    return keras.optimizers.AdamW(1e-3, weight_decay=0.05)


def demonstration(name):
    """The module of an example."""
    path = HERE.parents[1] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure()) + "\n")
