"""FCN-8s whose upsampling begins as bilinear interpolation, beside one that begins at random.

Both have one backbone, which begins with the same weights, see the same batches, and train at one
rate after a short rise, so that a curve depends on no end. The backbone begins at random, or as one
that was trained to tell which digits a scene has, as FCN's authors began with a classifier. The
mean IoU on the test scenes is drawn by steps.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.measuring import HERE, in_fresh_process, print_table
from tests.benchmarks.segmenters import (
    BATCH_SIZE,
    CLASSES,
    DIGIT_WEIGHT,
    SCENES,
    SIZE,
    TEST_SCENES,
)
from tests.benchmarks.training_share import demonstration

STEPS, EVERY, RATE = 1000, 25, 1e-3
CLASSIFIER_EPOCHS = 6
# What the random one reaches is the mean of its last few scores, which go up and down.
LAST = 5
UPSAMPLINGS = {"bilinear": "bilinear at first", "learned": "random at first"}
BACKBONES = ("begins at random", "was trained to classify")
PICTURE = HERE.parents[1] / "demo_output" / "fcn_initialization.png"


def run():
    print(
        f"\nFCN-8s on digit scenes of {SIZE} × {SIZE}, {STEPS} steps of batches of {BATCH_SIZE} on "
        f"TensorFlow; mean IoU on {TEST_SCENES} test scenes every {EVERY} steps.\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "backbone.weights.h5")
        print(f"The classifier tells {in_process('classifier', weights):.3f} of the digits.\n")
        curves = {
            (backbone, upsampling): in_process(upsampling, *given)
            for backbone, given in zip(BACKBONES, ([], [weights]), strict=True)
            for upsampling in UPSAMPLINGS
        }
    rows = []
    for backbone in BACKBONES:
        reached = statistics.mean(curves[backbone, "learned"][-LAST:])
        for upsampling, name in UPSAMPLINGS.items():
            curve = curves[backbone, upsampling]
            fifths = curve[STEPS // EVERY // 5 - 1 :: STEPS // EVERY // 5]
            rows.append([backbone, name, *fifths, reached, steps_to(reached, curve)])
    steps = [f"at {n}" for n in range(STEPS // 5, STEPS + 1, STEPS // 5)]
    print_table(["backbone", "upsampling", *steps, "random reaches", "in steps"], rows)
    draw(curves)
    print(f"\nThe picture is {PICTURE}.")


def in_process(what, *weights):
    return in_fresh_process(
        ["-m", "tests.benchmarks.fcn_initialization", what, *weights], "tensorflow"
    )


def steps_to(reached, scores):
    """Steps after which a curve first has this score, or None."""
    return next((EVERY * i for i, score in enumerate(scores, start=1) if score >= reached), None)


def scenes():
    """Training and test scenes."""
    import keras_cvx as cvx

    return (
        cvx.datasets.digit_scenes(count, split=split, size=SIZE, seed=0)
        for count, split in ((SCENES, "train"), (TEST_SCENES, "test"))
    )


def classify(weights):
    """Trains a backbone to tell which digits a scene has; the share it tells right of the ten."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(1)
    train, test = (
        (x["images"], x["bounding_boxes"]["labels"][..., None] == np.arange(CLASSES - 1))
        for x in scenes()
    )
    backbone = demonstration("segment_digits").small_backbone()
    x = keras.layers.GlobalMaxPooling2D()(backbone.output)
    outputs = keras.layers.Dense(CLASSES - 1, activation="sigmoid")(x)
    classifier = keras.Model(backbone.input, outputs)
    classifier.compile(
        optimizer=keras.optimizers.AdamW(RATE, weight_decay=0.05),
        loss="binary_crossentropy",
        jit_compile=True,
    )
    images, present = train
    classifier.fit(
        images,
        present.any(axis=1).astype("float32"),
        batch_size=BATCH_SIZE,
        epochs=CLASSIFIER_EPOCHS,
        verbose=0,
    )
    backbone.save_weights(weights)
    found = classifier.predict(test[0], verbose=0) > 0.5
    return float(np.mean(found == test[1].any(axis=1)))


def measure(upsampling, weights=None):
    """Mean IoU on the test scenes after every few steps."""
    import keras

    import keras_cvx as cvx

    keras.utils.set_random_seed(0)
    train, test = scenes()
    decoder = cvx.layers.TransposedConvDecoder(CLASSES, [8, 16, 32], upsampling=upsampling)
    backbone = demonstration("segment_digits").small_backbone()
    if weights is not None:
        backbone.load_weights(weights)
    segmenter = cvx.models.Segmenter(backbone, CLASSES, decoder=decoder)
    rising = keras.optimizers.schedules.PolynomialDecay(1e-5, STEPS // 20, end_learning_rate=RATE)
    segmenter.compile(optimizer=keras.optimizers.AdamW(rising, weight_decay=0.05), jit_compile=True)
    history = segmenter.fit(
        train["images"],
        train["segmentation_masks"],
        validation_data=(test["images"], test["segmentation_masks"]),
        class_weight=dict.fromkeys(range(1, CLASSES), DIGIT_WEIGHT),
        batch_size=BATCH_SIZE,
        steps_per_epoch=EVERY,
        epochs=STEPS // EVERY,
        verbose=0,
    )
    return history.history["val_mean_iou"]


def draw(curves):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(ncols=len(BACKBONES), sharey=True)
    panels[0].set_ylabel("mean IoU on test scenes")
    for axes, backbone in zip(panels, BACKBONES, strict=True):
        axes.set(title=f"the backbone {backbone}", xlabel="steps", xlim=(0, STEPS))
        for key, name in UPSAMPLINGS.items():
            axes.plot(range(EVERY, STEPS + 1, EVERY), curves[backbone, key], label=name)
        axes.axhline(
            statistics.mean(curves[backbone, "learned"][-LAST:]), color="grey", linestyle=":"
        )
        axes.legend(loc="lower right", frameon=False)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["classifier", *UPSAMPLINGS])
    parser.add_argument("weights", nargs="?", help="file of the backbone's weights")
    options = parser.parse_args()
    if options.what == "classifier":
        found = classify(options.weights)
    else:
        found = measure(options.what, options.weights)
    sys.stdout.write(json.dumps(found) + "\n")
