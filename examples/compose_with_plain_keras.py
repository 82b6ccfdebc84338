"""
Compose a detector from parts, with plain Keras
===============================================

No task model: a functional `keras.Model`, plain `compile` with a loss, plain `fit`. The parts are
layers and losses like all others. Ground truth is one packed tensor `(B, N, 5)` of box and label,
because Keras' `compile` wants `y_true` in the structure of `y_pred`, which is one tensor.
"""

import argparse

import keras
import numpy as np
from keras import layers

import keras_cvx as cvx

# %%
# A network: some convolutions, and the head on two of their feature maps.


def network(num_classes):
    inputs = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    maps = []
    for stride, filters in ((4, 32), (2, 64), (2, 96)):
        x = layers.Conv2D(filters, 5, stride, padding="same", use_bias=False)(x)
        x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        maps.append(x)
    predictions = cvx.layers.GridDetectionHead(num_classes, strides=[8, 16])(maps[1:])
    return keras.Model(inputs, predictions)


# %%
# What turns its predictions into detections is a second model around the first.


def with_detections(model):
    boxes, scores = cvx.layers.GridDecoding()(model.output)
    detections = cvx.layers.NonMaxSuppression(0.5, confidence_threshold=0.05)(boxes, scores)
    return keras.Model(model.input, detections)


def packed(truth):
    return np.concatenate([truth["boxes"], truth["labels"][..., None]], axis=-1).astype("float32")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args(arguments)

    keras.utils.set_random_seed(0)
    scenes = cvx.datasets.digit_scenes(options.scenes, split="train", size=128)
    test = cvx.datasets.digit_scenes(64, split="test", size=128)

    model = network(num_classes=10)
    model.compile(optimizer=keras.optimizers.AdamW(2e-3), loss=cvx.losses.GridDetectionLoss())
    history = model.fit(
        scenes["images"], packed(scenes["bounding_boxes"]), batch_size=16, epochs=options.epochs
    )

    detector = with_detections(model)
    metric = cvx.metrics.MeanAveragePrecision(num_classes=10)
    metric.update_state(test["bounding_boxes"], detector.predict(test["images"], verbose=0))
    scores = {name: float(value) for name, value in metric.result().items()}
    print({name: round(value, 3) for name, value in scores.items()})
    return history.history["loss"], scores


if __name__ == "__main__":
    main()
