"""Mean IoU after equal minutes of training, beside three segmenters that Keras users have.

All sides see the same scenes in batches of 16, weight the digits' pixels alike in a cross-entropy,
and use AdamW with one schedule. How many steps a side has is told by how long its steps take: the
fastest median of a few rounds in turns, so that a busy moment of the machine strikes no side alone.
`SegmentationIoU` scores the masks of all, and NumPy checks it.
"""

import argparse
import itertools
import json
import statistics
import sys
import time

from tests.benchmarks.measuring import in_fresh_process, print_table
from tests.benchmarks.training_share import demonstration

SCENES, TEST_SCENES, SIZE, CLASSES, BATCH_SIZE = 4000, 400, 128, 11, 16
MINUTES = 7.0
ROUNDS, TIMED_STEPS, WARM_UP = 3, 30, 5
# The few pixels of digits count more than those of the photograph.
DIGIT_WEIGHT = 3.0


def run():
    print(f"\n{SCENES} scenes of {SIZE} × {SIZE}, {MINUTES:g} minutes on TensorFlow.\n")
    times: dict = {side: [] for side in SIDES}
    for _ in range(ROUNDS):
        for side in SIDES:
            times[side].append(in_process(side, "time"))
    rows = []
    for side in SIDES:
        step = min(times[side])
        steps = round(60_000 * MINUTES / step)
        rows.append([side, *in_process(side, "train", "--steps", str(steps)), step])
    header = ["segmenter", "million weights", "steps", "mean IoU", "ms a step"]
    print_table(header, rows)
    best = max(row[3] for row in rows[1:])
    print(f"\nDifference in mean IoU to the best of the others: {rows[0][3] - best:+.3f}")


def in_process(side, *arguments):
    return in_fresh_process(["-m", "tests.benchmarks.segmenters", side, *arguments], "tensorflow")


def prepared(side, rate, scenes):
    """The compiled model of a side, and what `fit` takes."""
    import keras
    import numpy as np

    import keras_cvx as cvx

    keras.utils.set_random_seed(0)
    train = cvx.datasets.digit_scenes(scenes, split="train", size=SIZE, seed=0)
    make, _, compiled = SIDES[side]
    model, loss = make()
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=0.05),
        loss=loss,
        metrics=None,
        jit_compile=compiled,
    )
    masks = train["segmentation_masks"]
    # Keras takes no `class_weight` for masks.
    weights = np.where(masks > 0, DIGIT_WEIGHT, 1.0).astype("float32")
    return model, {
        "x": train["images"],
        "y": masks,
        "sample_weight": weights,
        "batch_size": BATCH_SIZE,
        "verbose": 0,
    }


def step_time(side):
    """Median milliseconds of a step of `fit`."""
    model, data = prepared(side, 1e-4, BATCH_SIZE * (WARM_UP + TIMED_STEPS))
    stamps: list = []
    model.fit(**data, callbacks=[each_step(lambda _: stamps.append(time.perf_counter()))])
    lengths = [late - early for early, late in itertools.pairwise(stamps)]
    return 1000 * statistics.median(lengths[WARM_UP - 1 :])


def train(side, steps, rate=None):
    """Million weights, steps, mean IoU."""
    import keras

    import keras_cvx as cvx

    warm_up = steps // 20
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-5, steps - warm_up, alpha=0.0, warmup_target=rate or SIDES[side][1], warmup_steps=warm_up
    )
    model, data = prepared(side, schedule, SCENES)

    def stop(model):
        model.stop_training = int(model.optimizer.iterations) >= steps

    model.fit(**data, epochs=10_000, callbacks=[each_step(stop)])
    test = cvx.datasets.digit_scenes(TEST_SCENES, split="test", size=SIZE, seed=0)
    found = model.predict(test["images"], verbose=0)
    found = found["masks"] if isinstance(found, dict) else found.argmax(-1)
    score = mean_iou(test["segmentation_masks"], found)
    return [model.count_params() / 1e6, int(model.optimizer.iterations), score]


def each_step(function):
    """Callback that calls a function of the model after every step."""
    import keras

    class EachStep(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            function(self.model)

    return EachStep()


def mean_iou(truth, found):
    """By `SegmentationIoU`; an `AssertionError` if NumPy's is another."""
    import numpy as np

    from keras_cvx.metrics import SegmentationIoU

    metric = SegmentationIoU(CLASSES)
    for first in range(0, len(truth), 100):
        batch = slice(first, first + 100)
        metric.update_state(truth[batch], found[batch])
    score = float(metric.result()["mean_iou"])
    confusion = np.zeros((CLASSES, CLASSES))
    np.add.at(confusion, (truth.ravel(), found.ravel()), 1)
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    np.testing.assert_allclose(score, np.mean(right[union > 0] / union[union > 0]), atol=1e-6)
    return score


def ours():
    return demonstration("segment_digits").segmenter_of_digits(), "auto"


def segformer():
    import keras_hub

    encoder = keras_hub.models.MiTBackbone(
        image_shape=(SIZE, SIZE, 3),
        num_layers=4,
        hidden_dims=[32, 64, 128, 192],
        layerwise_depths=[2, 2, 2, 2],
        layerwise_num_heads=[1, 2, 4, 6],
        layerwise_sr_ratios=[8, 4, 2, 1],
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        # What is seen for a few minutes only needs no dropping of whole branches.
        max_drop_path_rate=0.0,
    )
    backbone = keras_hub.models.SegFormerBackbone(encoder, projection_filters=128)
    segmenter = keras_hub.models.SegFormerImageSegmenter(backbone, num_classes=CLASSES)
    return on_raw_images(segmenter), cross_entropy(from_logits=True)


def deeplab():
    import keras_cv

    backbone = keras_cv.models.ResNetV2Backbone(
        stackwise_filters=[64, 64, 96, 160],
        stackwise_blocks=[2, 2, 2, 2],
        stackwise_strides=[1, 2, 2, 2],
        block_type="basic_block",
        include_rescaling=False,
        input_shape=(SIZE, SIZE, 3),
    )
    segmenter = keras_cv.models.DeepLabV3Plus(
        backbone,
        num_classes=CLASSES,
        # Its own rates, 6, 12 and 18, reach past the 4 × 4 cells of the last map.
        spatial_pyramid_pooling=keras_cv.layers.SpatialPyramidPooling([1, 2, 3], num_channels=128),
    )
    return on_raw_images(segmenter), cross_entropy(from_logits=False)


def unet():
    """The network of the tutorial "Image segmentation with a U-Net-like architecture".

    Halved four times and brought back by as many steps, each of two convolutions with a residual
    beside them; no skip goes from the way down to the way up.
    """
    import keras
    from keras import layers

    def block(x, convolution, filters):
        for _ in range(2):
            x = convolution(filters, 3, padding="same")(layers.Activation("relu")(x))
            x = layers.BatchNormalization()(x)
        return x

    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(32, 3, 2, padding="same")(inputs)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    for filters in (64, 128, 256):
        beside = layers.Conv2D(filters, 1, 2, padding="same")(x)
        x = block(x, layers.SeparableConv2D, filters)
        x = layers.Add()([layers.MaxPooling2D(3, 2, padding="same")(x), beside])
    for filters in (256, 128, 64, 32):
        beside = layers.Conv2D(filters, 1, padding="same")(layers.UpSampling2D()(x))
        x = layers.UpSampling2D()(block(x, layers.Conv2DTranspose, filters))
        x = layers.Add()([x, beside])
    outputs = layers.Conv2D(CLASSES, 3, padding="same", activation="softmax")(x)
    return on_raw_images(keras.Model(inputs, outputs)), cross_entropy(from_logits=False)


def on_raw_images(model):
    """The model behind a rescaling to −1 … 1, as ours has it."""
    import keras

    inputs = keras.Input((SIZE, SIZE, 3))
    return keras.Model(inputs, model(keras.layers.Rescaling(1 / 127.5, -1)(inputs)))


def cross_entropy(from_logits):
    import keras

    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


# Function that makes the model and its loss, peak learning rate, whether XLA compiles it.
SIDES = {
    "keras-cvx Segmenter": (ours, 2e-3, True),
    "KerasHub SegFormerImageSegmenter": (segformer, 1e-3, False),
    "KerasCV DeepLabV3Plus": (deeplab, 2e-3, False),
    "U-Net of the Keras tutorial": (unet, 2e-3, False),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("what", choices=["time", "train"])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rate", type=float, help="peak learning rate, in place of the side's own")
    options = parser.parse_args()
    if options.what == "time":
        found = step_time(options.side)
    else:
        found = train(options.side, options.steps, options.rate)
    sys.stdout.write(json.dumps(found) + "\n")
