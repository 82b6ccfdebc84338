"""A classifier slid over a large image: convolutional, beside batches of crops."""

import json
import time

import numpy as np

from tests.benchmarks.measuring import (
    BACKENDS,
    in_fresh_process,
    median_milliseconds,
    print_table,
)

WINDOW, STRIDE, SIZE, BATCH = 64, 8, 448, 128


def run():
    count = (SIZE - WINDOW) // STRIDE + 1
    print(
        f"\nA classifier of {WINDOW} × {WINDOW} images, of five convolutions without padding and "
        f"two dense layers, at stride {STRIDE} over an image of {SIZE} × {SIZE}: {count} × {count} "
        f"windows. Crops are cut by NumPy and classified by `predict` in batches of {BATCH}; the "
        "convolutional classifier runs by `predict` too. Milliseconds, medians of rounds in "
        "turns; the largest difference of the probabilities; seconds to make it convolutional."
    )
    header = ["backend", "crops, ms", "convolutional, ms", "times as fast", "difference", "made, s"]
    rows = []
    for backend in BACKENDS:
        found = in_fresh_process(["-m", "tests.benchmarks.sliding_window"], backend)
        crops, convolutional = found["milliseconds"]
        rows.append(
            [backend, crops, convolutional, crops / convolutional, f"{found['difference']:.0e}",
             found["seconds"]]
        )  # fmt: skip
    print()
    print_table(header, rows)


def measure():
    import keras
    from keras import layers

    from keras_cvx.backbones import convolutionalize

    keras.utils.set_random_seed(0)
    classifier = keras.Sequential(
        [
            keras.Input((WINDOW, WINDOW, 3)),
            layers.Rescaling(1 / 127.5, -1),
            layers.Conv2D(32, 4, 2, activation="relu"),
            layers.Conv2D(48, 3, activation="relu"),
            layers.Conv2D(64, 3, 2, activation="relu"),
            layers.Conv2D(96, 3, activation="relu"),
            layers.Conv2D(128, 3, 2, activation="relu"),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax"),
        ]
    )
    start = time.perf_counter()
    convolutional = convolutionalize(classifier)
    seconds = time.perf_counter() - start
    image = np.random.default_rng(0).uniform(0, 255, (SIZE, SIZE, 3)).astype("float32")
    places = range(0, SIZE - WINDOW + 1, STRIDE)

    def by_crops():
        crops = np.stack([image[y : y + WINDOW, x : x + WINDOW] for y in places for x in places])
        return classifier.predict(crops, batch_size=BATCH, verbose=0)

    def in_one_pass():
        return convolutional.predict(image[None], verbose=0)

    scores = in_one_pass()[0]
    expected = by_crops().reshape(scores.shape)
    return {
        "difference": float(np.abs(scores - expected).max()),
        "milliseconds": median_milliseconds(
            by_crops, in_one_pass, warm_up=1, repeats=7, seconds=25
        ),
        "seconds": seconds,
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
