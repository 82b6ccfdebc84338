"""Segmentation metrics and losses beside those of Keras that come nearest.

The metric takes 500 masks of ids in batches, as `evaluate` would hand them on; the losses take a
batch of logits and ids to a value and its gradient, the softmax and, for Dice, the one-hot truth
included. Each backend compiles as Keras does on a machine without an accelerator.
"""

import json
import sys

import numpy as np

from tests.benchmarks.measuring import BACKENDS, in_fresh_process, median_milliseconds, print_table

CLASSES, IMAGES, BATCH_SIZE, SIDE, LOSS_SIDE = 21, 500, 4, 512, 256


def run():
    print(
        f"\nMilliseconds of an update with {BATCH_SIZE} masks of {SIDE} × {SIDE} and {CLASSES} "
        f"classes, and seconds of {IMAGES} masks; times of both sides are of one process. Keras' "
        "own is `MeanIoU(ignore_class=255)`.\n"
    )
    measured = {
        backend: in_fresh_process(["-m", "tests.benchmarks.segmentation", "metrics"], backend)
        for backend in BACKENDS
    }
    print_table(
        ["backend", "Keras' MeanIoU", "SegmentationIoU", "ratio", f"s for {IMAGES}", "BoundaryIoU"],
        [
            [backend, theirs, ours, f"{ours / theirs:.2f} ×",
             ours * IMAGES / BATCH_SIZE / 1000, edges]
            for backend, (theirs, ours, edges) in measured.items()
        ],
    )  # fmt: skip
    print(
        f"\nMilliseconds of a loss and its gradient, of logits 8 × {LOSS_SIDE} × {LOSS_SIDE} × "
        f"{CLASSES}.\n"
    )
    measured = {
        backend: in_fresh_process(["-m", "tests.benchmarks.segmentation", "losses"], backend)
        for backend in BACKENDS
    }
    print_table(
        ["backend", *measured["tensorflow"], "exact to Dice", "rounded to Dice"],
        [
            [backend, *times.values(),
             *(f"{times[x] / times['Keras Dice']:.1f} ×" for x in ("LovaszSoftmax", "rounded"))]
            for backend, times in measured.items()
        ],
    )  # fmt: skip


def scenes(images, side):
    """Masks of square regions, and the same with a fifth of their pixels changed; some ignored."""
    rng = np.random.default_rng(0)
    regions = rng.integers(0, CLASSES, (images, 16, 16))
    truth = regions.repeat(side // 16, 1).repeat(side // 16, 2)
    wrong = rng.uniform(size=truth.shape) < 0.2
    found = np.where(wrong, rng.integers(0, CLASSES, truth.shape), truth)
    truth[:, : side // 32] = 255
    return truth.astype("int32"), found.astype("int32")


def measure_metrics():
    import keras
    from keras import ops

    from keras_cvx.metrics import BoundaryIoU, SegmentationIoU

    masks = [ops.convert_to_tensor(x) for x in scenes(BATCH_SIZE, SIDE)]
    steps = [
        updating(metric)
        for metric in (
            keras.metrics.MeanIoU(CLASSES, ignore_class=255),
            SegmentationIoU(CLASSES),
            BoundaryIoU(CLASSES),
        )
    ]
    return median_milliseconds(
        *(lambda step=step: step(*masks) for step in steps), warm_up=1, seconds=8
    )


def updating(metric):
    """Function that updates a metric in a compiled step, and waits for it."""
    import keras
    from keras import ops

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        state = [variable.value for variable in metric.variables]
        update = jax.jit(metric.stateless_update_state)

        def step(*masks):
            state[:] = jax.block_until_ready(update(state, *masks))

        return step
    update = metric.update_state
    if backend == "tensorflow":
        import tensorflow as tf

        update = tf.function(metric.update_state)

    def step(*masks):
        update(*masks)
        ops.convert_to_numpy(metric.variables[0])

    return step


def measure_losses():
    import keras
    from keras import ops

    from keras_cvx import losses

    truth, found = scenes(8, LOSS_SIDE)
    truth[truth == 255] = 0
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(*truth.shape, CLASSES)) + 3 * np.eye(CLASSES)[found]
    arguments = ops.convert_to_tensor(truth), ops.convert_to_tensor(logits.astype("float32"))
    dice = keras.losses.Dice()
    contenders = {
        "Keras Dice": lambda t, x: dice(ops.one_hot(t, CLASSES), ops.softmax(x)),
        "GeneralizedDice": losses.GeneralizedDice(True),
        "FocalTversky": losses.FocalTversky(True),
        "LovaszSoftmax, per image": losses.LovaszSoftmax(True, per_image=True),
        "LovaszSoftmax": losses.LovaszSoftmax(True),
        "rounded, per image": losses.LovaszSoftmax(True, per_image=True, exact=False),
        "rounded": losses.LovaszSoftmax(True, exact=False),
        "BoundaryLoss": losses.BoundaryLoss(True),
    }
    steps = [with_gradient(loss) for loss in contenders.values()]
    times = median_milliseconds(
        *(lambda step=step: step(*arguments) for step in steps), warm_up=1, seconds=10
    )
    return dict(zip(contenders, times, strict=True))


def with_gradient(loss):
    """Function of truth and logits that computes the loss and its gradient, and waits for it."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        step = jax.jit(jax.value_and_grad(loss, argnums=1))
        return lambda truth, logits: jax.block_until_ready(step(truth, logits))
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function
        def differentiated(truth, logits):
            with tf.GradientTape() as tape:
                tape.watch(logits)
                value = loss(truth, logits)
            return value, tape.gradient(value, logits)

        return lambda truth, logits: differentiated(truth, logits)[1].numpy()

    def differentiated_by_torch(truth, logits):
        logits = logits.detach().requires_grad_(True)
        loss(truth, logits).backward()
        return logits.grad

    return differentiated_by_torch


if __name__ == "__main__":
    print(json.dumps({"metrics": measure_metrics, "losses": measure_losses}[sys.argv[1]]()))
