"""Images of any size on their way into a model that takes one size."""

import keras
import numpy as np

from keras_cvx.layers.preprocessing.image_lists import as_array
from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import shapes_agree
from keras_cvx.ops.resizing import saturate


def any_size(shape):
    """The static shape of a batch of images whose sides are unknown.

    Args:
        shape: Tuple of four.
    """
    if keras.config.image_data_format() == "channels_last":
        return (shape[0], None, None, shape[3])
    return (*shape[:2], None, None)


def written(shape):
    """A static shape of images as documentation has it, `(B, H, W, 3)`.

    Args:
        shape: Tuple of three or four, None where unknown.
    """
    letters = "BHWC" if keras.config.image_data_format() == "channels_last" else "BCHW"
    sides = zip(letters[-len(shape) :], shape, strict=True)
    return f"({', '.join(letter if side is None else str(side) for letter, side in sides)})"


def preprocessed(x, layer, images):
    """Samples of what a graph cannot take, because its images differ in size.

    They are resized in float32, as in the graph, and only then get the dtype of the model.

    Args:
        x: List of images `(H, W, C)` and paths of files, ragged tensor, or dataset of such.
        layer: The `GeometricLayer` through which the images pass.
        images: The model's symbolic images, whose dtype and number of channels is required.

    Returns:
        One sample of all images, a dataset of samples in batches, or None of any other `x`.

    Raises:
        ValueError: If an element of a list is no image, or a file cannot be decoded.
    """

    def sample_of(unsized):
        sample = layer({"images": unsized}, training=False)
        return {**sample, "images": saturate(sample["images"], images.dtype)}

    def sample_of_ragged(batch):
        return sample_of(_arrays.namespace(batch).cast(batch, "float32"))

    if isinstance(x, (list, tuple)):
        shape = any_size(images.shape)[1:]
        return sample_of([image_of_list(image, index, shape) for index, image in enumerate(x)])
    if _arrays.is_ragged(x):
        return sample_of_ragged(x)
    if hasattr(images_of_batch(getattr(x, "element_spec", None)), "ragged_rank"):
        # By `tf.data`: Keras would pad a ragged batch for JAX, and torch takes none.
        return x.map(lambda *batch: sample_of_ragged(images_of_batch(batch)))
    return None


def check_image(image, index, shape):
    """Raises if an element of a list of images is none of a static shape.

    Args:
        image: Array.
        index: Its place in the list, for the error.
        shape: Tuple of three, None where any size will do.
    """
    if not shapes_agree(image.shape, shape):
        raise ValueError(
            f"`x[{index}]` must be one image {written(shape)}, or the path of a file. "
            f"Received: shape {tuple(image.shape)}"
        )


def image_of_list(image, index, shape):
    """One image of a list as a float32 array, read if it is a path or a picture of Pillow's.

    Args:
        image: What stands in the list.
        index: Its place there, for the error.
        shape: Its required static shape, a tuple of three.

    Raises:
        ValueError: If it is of another shape, or cannot be read.
    """
    array = np.asarray(as_array(image, index), "float32")
    check_image(array, index, shape)
    return array


def images_of_batch(batch):
    """The images of a batch of a dataset, or what describes them.

    Args:
        batch: Images, alone or before their truth, or a sample of them.
    """
    first = batch[0] if isinstance(batch, (list, tuple)) else batch
    return first.get("images") if isinstance(first, dict) else first
