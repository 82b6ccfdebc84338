"""Letterboxing beside its peers: in `tf.data`, on NumPy arrays, and in a model."""

import json
import sys

from tests.benchmarks.measuring import in_fresh_process, median_milliseconds, print_table

HEIGHT, WIDTH, TARGET, BATCH, BOXES = 427, 640, 224, 32, 8
BATCHES = 20


def run():
    print(
        f"\nA {WIDTH} × {HEIGHT} uint8 photograph to {TARGET} × {TARGET}, bilinear, "
        f"{BATCH} at a time.\n"
    )
    rows = []
    for road, backend in (
        ("tf.data", "tensorflow"), ("tf.data", "jax"), ("NumPy", "jax"),
        ("model", "tensorflow"), ("model", "jax"), ("model", "torch"),
    ):  # fmt: skip
        arguments = ["-m", "tests.benchmarks.preprocessing", road]
        for part, milliseconds, peer in in_fresh_process(arguments, backend):
            rate = 1000 * BATCH / milliseconds
            rows.append([road, backend, part, milliseconds, rate, peer / milliseconds])
    print_table(
        ["where", "backend", "what", "ms a batch", "images a second", "peer's time ÷ this"], rows
    )
    traces = in_fresh_process(["-m", "tests.benchmarks.preprocessing", "traces"], "tensorflow")
    print(f"\n100 images of 100 sizes in one `tf.data` pipeline: {traces} trace.")


def photograph():
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_image

    image = Image.fromarray(load_sample_image("china.jpg"))
    return np.asarray(image.resize((WIDTH, HEIGHT)))


def sample():
    import numpy as np

    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 300, (BOXES, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 120, corner.shape)], -1)
    return {
        "images": photograph(),
        "bounding_boxes": {
            "boxes": boxes.astype("float32"),
            "labels": np.arange(BOXES, dtype="int32"),
        },
        "segmentation_masks": rng.integers(0, 21, (HEIGHT, WIDTH)).astype("uint8"),
    }


def timed(roads):
    """Name, milliseconds and the milliseconds of the first, the peer, of every road."""
    times = median_milliseconds(*roads.values(), seconds=6)
    return [[name, time, times[0]] for name, time in zip(roads, times, strict=True)]


def in_tf_data():
    import tensorflow as tf

    import keras_cvx as cvx

    letterbox = cvx.layers.ResizeWithPad(TARGET, TARGET, bounding_box_format="xyxy")
    whole = sample()
    image = {"images": whole["images"]}

    def pipeline(function, given):
        data = tf.data.Dataset.from_tensors(given).repeat()
        # A size that is not known, as a decoded file has it.
        data = data.map(lambda x: {**x, "images": of_unknown_size(x["images"])})
        data = data.map(function, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)

        def consume():
            # A pipeline of its own, which does not work ahead while the others are measured.
            for _ in data.take(BATCHES):
                pass

        return consume

    def of_unknown_size(x):
        return tf.ensure_shape(tf.reshape(x, tf.shape(x)), (None, None, 3))

    def peer(x):
        return tf.image.resize_with_pad(x["images"], TARGET, TARGET)

    def resize_only(x):
        return tf.image.resize(x["images"], (149, 224))

    rows = timed(
        {
            "`tf.image.resize_with_pad`": pipeline(peer, image),
            "`tf.image.resize` alone": pipeline(resize_only, image),
            "`ResizeWithPad`, image": pipeline(lambda x: letterbox(x["images"]), image),
            "`ResizeWithPad`, image, boxes, mask": pipeline(letterbox, whole),
        }
    )
    return [[name, time / BATCHES, peer / BATCHES] for name, time, peer in rows]


def on_numpy():
    import cv2
    import numpy as np

    import keras_cvx as cvx

    cv2.setNumThreads(1)
    letterbox = cvx.layers.ResizeWithPad(TARGET, TARGET, bounding_box_format="xyxy")
    whole = sample()

    def peer(image):
        height, width = image.shape[:2]
        ratio = max(height, width) / TARGET
        resized = cv2.resize(image, (int(width / ratio), int(height / ratio)))
        top, left = (TARGET - resized.shape[0]) // 2, (TARGET - resized.shape[1]) // 2
        canvas = np.zeros((TARGET, TARGET, 3), np.uint8)
        canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
        return canvas

    image = whole["images"]
    return timed(
        {
            "OpenCV by hand": lambda: [peer(image) for _ in range(BATCH)],
            "`ResizeWithPad`, image": lambda: [letterbox(image) for _ in range(BATCH)],
            "`ResizeWithPad`, image, boxes, mask": lambda: [letterbox(whole) for _ in range(BATCH)],
        }
    )


def in_model():
    import keras
    import numpy as np

    import keras_cvx as cvx

    images = np.repeat(photograph()[None], BATCH, axis=0).astype("float32")

    def road(layer):
        inputs = keras.Input((HEIGHT, WIDTH, 3))
        # One number an image comes out, so that no copy of the result is measured.
        model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(layer(inputs)))
        model.compile(jit_compile="auto")
        given = keras.ops.convert_to_tensor(images)
        return lambda: model.predict_on_batch(given)

    return timed(
        {
            "`keras.layers.Resizing`": road(
                keras.layers.Resizing(TARGET, TARGET, pad_to_aspect_ratio=True)
            ),
            "`ResizeWithPad`": road(cvx.layers.ResizeWithPad(TARGET, TARGET)),
        }
    )


def traces():
    """How often the layer is traced for 100 sizes."""
    import numpy as np
    import tensorflow as tf

    import keras_cvx as cvx

    letterbox, count = cvx.layers.ResizeWithPad(TARGET, TARGET), []

    def counted(x):
        count.append(1)
        return letterbox(x)

    images = (np.zeros((50 + i, 250 - i, 3), "uint8") for i in range(100))
    data = tf.data.Dataset.from_generator(
        lambda: images, output_signature=tf.TensorSpec((None, None, 3), tf.uint8)
    )
    for _ in data.map(counted):
        pass
    return len(count)


if __name__ == "__main__":
    roads = {"tf.data": in_tf_data, "NumPy": on_numpy, "model": in_model, "traces": traces}
    sys.stdout.write(json.dumps(roads[sys.argv[1]]()) + "\n")
