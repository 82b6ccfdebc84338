"""
Transfer learning: flowers, with a pretrained Xception
======================================================

A network that was trained on other images learns to tell five kinds of flowers apart: first a new
top on the frozen backbone, then the top and the backbone's last blocks at a lower learning rate.

The photographs are those of TensorFlow Datasets, the weights those of ``keras.applications``. Where
one of them cannot be downloaded, the script says so and does the same with handwritten digits: a
small backbone learns 0 to 4, and its classifier of 5 to 9 is what is fine-tuned.
"""

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_cvx as cvx

# %%
# A task is three datasets of images and labels, the names of the classes, and a backbone with the
# layer from which on it will be fine-tuned. A tenth of the photographs is for testing, 15 % are for
# validation, and the rest is for training.


class Task(NamedTuple):
    test: tf.data.Dataset
    valid: tf.data.Dataset
    train: tf.data.Dataset
    names: list
    backbone: keras.Model
    unfreeze_from: str
    size: int


def flowers():
    import tensorflow_datasets as tfds

    splits = ["train[:10%]", "train[10%:25%]", "train[25%:]"]
    datasets, info = tfds.load("tf_flowers", split=splits, as_supervised=True, with_info=True)
    # The normalization that Xception was trained with is part of it: it takes 0 to 255.
    backbone = cvx.backbones.get("Xception", weights="imagenet", input_shape=(224, 224, 3))
    return Task(*datasets, info.features["label"].names, backbone, "block13_sepconv1", 224)


def digits(pretraining_epochs):
    from sklearn.datasets import load_digits

    scans = load_digits()
    images = np.repeat(scans.images[..., None] * (255 / 16), 3, axis=-1).astype("float32")
    known = scans.target < 5
    size = 24
    backbone = small_backbone(size)
    learned = classifier(backbone, list("01234"))
    learned.compile("adam", "sparse_categorical_crossentropy")
    dataset = tf.data.Dataset.from_tensor_slices((images[known], scans.target[known]))
    learned.fit(pipeline(dataset, size, training=True), shuffle=False, epochs=pretraining_epochs)

    images, labels = images[~known], scans.target[~known] - 5
    ends = len(labels) // 10, len(labels) // 4
    datasets = (
        tf.data.Dataset.from_tensor_slices((images[part], labels[part]))
        for part in (slice(ends[0]), slice(*ends), slice(ends[1], None))
    )
    return Task(*datasets, list("56789"), backbone, "third", size)


def small_backbone(size):
    inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    for name, filters in (("first", 16), ("second", 32), ("third", 48)):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.MaxPooling2D()(layers.Activation("relu")(x))
    return keras.Model(inputs, x)


# %%
# Images come in all sizes. Each is resized as a whole, its proportions kept, and padded.


def pipeline(dataset, size, *, training=False):
    letterbox = cvx.layers.ResizeWithPad(size, size)
    if training:
        dataset = dataset.shuffle(1000, seed=0)
    dataset = dataset.map(
        lambda image, label: (letterbox(image), label), num_parallel_calls=tf.data.AUTOTUNE
    )
    return dataset.batch(32).prefetch(tf.data.AUTOTUNE)


# %%
# The top is Keras' own layers. The last one passes the scores through and keeps the names of the
# classes, so that the saved model knows them.


def classifier(backbone, names):
    x = layers.GlobalAveragePooling2D()(backbone.output)
    x = layers.Dropout(0.2)(x)
    x = layers.Dense(len(names), activation="softmax")(x)
    return keras.Model(backbone.input, cvx.layers.ClassNames(names)(x))


def load_task(pretraining_epochs):
    try:
        return flowers()
    # Keras and TensorFlow Datasets raise whatever their downloads raise.
    except Exception as error:
        print(f"No flowers, or no Xception, can be had here ({type(error).__name__}: {error}).")
        print("So a small backbone learns the digits 0 to 4, and is then taught 5 to 9.")
        return digits(pretraining_epochs)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--top-epochs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10, help="of top and backbone together")
    parser.add_argument("--pretraining-epochs", type=int, default=10, help="of the small backbone")
    options = parser.parse_args(arguments)

    keras.utils.set_random_seed(0)
    task = load_task(options.pretraining_epochs)
    train = pipeline(task.train, task.size, training=True)
    valid, test = (pipeline(dataset, task.size) for dataset in (task.valid, task.test))

    model = classifier(task.backbone, task.names)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    # In a real run, give it a directory: after an interruption the same call goes on.
    history = cvx.models.fine_tune(
        model,
        train,
        backbone=task.backbone,
        epochs=(options.top_epochs, options.epochs),
        unfreeze_from=task.unfreeze_from,
        learning_rate=3e-4,
        validation_data=valid,
        shuffle=False,  # the pipeline does it
        verbose=2,
    )
    accuracy = history.history["val_accuracy"]
    _, tested = model.evaluate(test, verbose=0)
    print(f"Validation accuracy {accuracy[options.top_epochs - 1]:.3f} with the top alone,")
    print(f"{accuracy[-1]:.3f} with the backbone fine-tuned; {tested:.3f} on the test images.")

    # A saved model is complete: it takes images as they are, and names what it sees.
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "classifier.keras")
        loaded = keras.saving.load_model(Path(folder) / "classifier.keras")
    for scores in cvx.models.decode_predictions(loaded.predict(test.take(1))[:3], loaded, top=2):
        print(", ".join(f"{name} {score:.2f}" for _, name, score in scores))
    return accuracy[options.top_epochs - 1], accuracy[-1], tested


if __name__ == "__main__":
    main()
