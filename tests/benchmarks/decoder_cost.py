"""What FCN-8s adds to ResNet50 at 512 × 512, and a training step with and without XLA."""

import json
import sys

from tests.benchmarks.measuring import BACKENDS, in_fresh_process, median_milliseconds, print_table
from tests.benchmarks.segmenters import ours

SIZE, CLASSES, BATCH_SIZE = 512, 21, 2
SMALL_SIZE, SMALL_BATCH_SIZE = 128, 16


def run():
    print(
        f"\nMilliseconds of a forward pass of ResNet50 and FCN-8s with {CLASSES} classes, "
        f"{BATCH_SIZE} images of {SIZE} × {SIZE}: the backbone to the decoder's three maps, with "
        "the decoder to logits, and to masks and confidence as `predict` gives them.\n"
    )
    rows = []
    for backend in BACKENDS:
        maps, logits, masks = in_fresh_process(
            ["-m", "tests.benchmarks.decoder_cost", "forward"], backend
        )
        rows.append([backend, maps, logits, masks, f"{100 * (1 - maps / logits):.1f} %"])
    print_table(["backend", "backbone", "logits", "masks", "decoder's share"], rows)
    print(
        f"\nMilliseconds of a training step: of that network with {BATCH_SIZE} images, and of the "
        f"small segmenter with {SMALL_BATCH_SIZE} of {SMALL_SIZE} × {SMALL_SIZE}. JAX has no graph "
        "but XLA's; PyTorch does without XLA.\n"
    )
    rows = []
    for backend in ("tensorflow", "jax"):
        for network in NETWORKS:
            times = in_fresh_process(
                ["-m", "tests.benchmarks.decoder_cost", "training", network], backend
            )
            rows.append([backend, network, times["xla"], times.get("graph"), times["eager"]])
    print_table(["backend", "network", "XLA", "graph", "eager"], rows)


def fcn8s():
    import keras

    import keras_cvx as cvx

    backbone = keras.applications.ResNet50(
        weights=None, include_top=False, input_shape=(SIZE, SIZE, 3)
    )
    return cvx.models.Segmenter(backbone, CLASSES, decoder="fcn8s")


# Function that makes the segmenter, batch size and side of its images.
NETWORKS = {
    "ResNet50 and FCN-8s": (fcn8s, BATCH_SIZE, SIZE),
    "small segmenter": (lambda: ours()[0], SMALL_BATCH_SIZE, SMALL_SIZE),
}


def measure_forward():
    """Milliseconds to the feature maps, to the logits, to the masks."""
    import keras

    segmenter = fcn8s()
    extractor = segmenter.get_layer("feature_extractor")
    models = (
        keras.Model(segmenter.input, extractor(segmenter.input)),
        keras.Model(segmenter.input, segmenter.output),
        segmenter,
    )
    images, _ = batch(BATCH_SIZE, SIZE, CLASSES)
    return median_milliseconds(
        *(lambda model=model: model.predict_on_batch(images) for model in models),
        warm_up=2,
        seconds=40,
        statistic=min,
    )


def measure_training(network):
    """Milliseconds of a step by how it is compiled; the fastest, since the first ones compile."""
    import keras

    make, batch_size, size = NETWORKS[network]
    settings = {"xla": {"jit_compile": True}, "eager": {"run_eagerly": True}}
    if keras.backend.backend() == "tensorflow":
        settings["graph"] = {"jit_compile": False}
    steps = []
    for options in settings.values():
        segmenter = make()
        segmenter.compile(metrics=None, **options)
        arrays = batch(batch_size, size, segmenter.num_classes)
        steps.append(lambda segmenter=segmenter, arrays=arrays: segmenter.train_on_batch(*arrays))
    times = median_milliseconds(*steps, warm_up=2, seconds=30, statistic=min)
    return dict(zip(settings, times, strict=True))


def batch(count, size, classes):
    """Images and masks of noise: what they show does not change the time."""
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3)).astype("float32")
    return images, rng.integers(0, classes, (count, size, size)).astype("int32")


if __name__ == "__main__":
    measurements = {"forward": measure_forward, "training": measure_training}
    sys.stdout.write(json.dumps(measurements[sys.argv[1]](*sys.argv[2:])) + "\n")
