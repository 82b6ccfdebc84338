"""FCN-8s whose upsampling begins as bilinear interpolation, beside one that begins at random.

Both have one backbone, which begins with the same weights, see the same batches, and train at one
rate after a short rise, so that a curve depends on no end. The mean IoU on the test scenes is drawn
by steps.
"""

import json
import statistics
import sys

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
# What the random one reaches is the mean of its last few scores, which go up and down.
LAST = 5
UPSAMPLINGS = {"bilinear": "bilinear at first", "learned": "random at first"}
PICTURE = HERE.parents[1] / "demo_output" / "fcn_initialization.png"


def run():
    print(
        f"\nFCN-8s on digit scenes of {SIZE} × {SIZE}, {STEPS} steps of batches of {BATCH_SIZE} on "
        f"TensorFlow; mean IoU on {TEST_SCENES} test scenes every {EVERY} steps.\n"
    )
    curves = {
        upsampling: in_fresh_process(
            ["-m", "tests.benchmarks.fcn_initialization", upsampling], "tensorflow"
        )
        for upsampling in UPSAMPLINGS
    }
    reached = statistics.mean(curves["learned"][-LAST:])
    steps = {name: steps_to(reached, scores) for name, scores in curves.items()}
    print_table(
        ["upsampling", *(f"at {n}" for n in range(STEPS // 5, STEPS + 1, STEPS // 5)),
         f"steps to {reached:.3f}"],
        [
            [name, *curves[key][STEPS // EVERY // 5 - 1 :: STEPS // EVERY // 5], steps[key]]
            for key, name in UPSAMPLINGS.items()
        ],
    )  # fmt: skip
    if None not in steps.values():
        print(f"\nShare of the steps: {steps['bilinear'] / steps['learned']:.2f}")
    draw(curves, reached)
    print(f"The picture is {PICTURE}.")


def steps_to(reached, scores):
    """Steps after which a curve first has this score, or None."""
    return next((EVERY * i for i, score in enumerate(scores, start=1) if score >= reached), None)


def measure(upsampling):
    """Mean IoU on the test scenes after every few steps."""
    import keras

    import keras_cvx as cvx

    keras.utils.set_random_seed(0)
    train = cvx.datasets.digit_scenes(SCENES, split="train", size=SIZE, seed=0)
    test = cvx.datasets.digit_scenes(TEST_SCENES, split="test", size=SIZE, seed=0)
    decoder = cvx.layers.TransposedConvDecoder(CLASSES, [8, 16, 32], upsampling=upsampling)
    backbone = demonstration("segment_digits").small_backbone()
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


def draw(curves, reached):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="steps", ylabel="mean IoU on test scenes", xlim=(0, STEPS))
    for key, name in UPSAMPLINGS.items():
        axes.plot(range(EVERY, STEPS + 1, EVERY), curves[key], label=name)
    axes.axhline(reached, color="grey", linestyle=":")
    axes.legend(loc="lower right", frameon=False)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1])) + "\n")
