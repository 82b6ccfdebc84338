"""A backbone for images of one channel, such as radiographs, on weights learnt from colours."""

import keras

from keras_cvx import backbones, plugins


@plugins.register("grayscale", kind="backbone", package="acme")
def grayscale(
    *,
    weights="imagenet",
    input_shape=(None, None, 1),
    include_top=False,
    model="MobileNetV2",
    **kwargs,
):
    """A model of `keras.applications` that takes grey images.

    Args:
        weights: As for `keras_cvx.backbones.get`.
        input_shape: Height, width and the one channel, last.
        include_top: As for `keras_cvx.backbones.get`.
        model: Name of the model.
        **kwargs: As the model takes them.

    Returns:
        A functional `keras.Model` of images `(B, H, W, 1)`, values 0 to 255.

    Raises:
        ValueError: If the images have another number of channels.
    """
    height, width, channels = input_shape or (None, None, 1)
    if channels != 1:
        raise ValueError(
            f"`input_shape` must have one channel, the last. Received: input_shape={input_shape}"
        )
    in_colour = backbones.get(
        model, weights=weights, input_shape=(height, width, 3), include_top=include_top, **kwargs
    )
    images = keras.Input((height, width, 1), name="images")
    three = keras.layers.Concatenate(name="three_channels")([images] * 3)
    return keras.Model(images, in_colour(three), name=f"grayscale_{in_colour.name}")
