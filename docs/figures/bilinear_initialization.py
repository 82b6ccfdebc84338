"""A transposed convolution before any training. With `BilinearUpsampling` it begins as
interpolation, with Keras' default as noise that the first epochs must unlearn.
"""

import keras
from drawing import frame, numbers, panels, scene

import keras_cvx as cvx

OBJECTS = ["initializers.BilinearUpsampling", "layers.TransposedConvDecoder"]


def draw():
    image = scene(height=128, width=128, seed=9)["images"].mean(-1)
    small = image.reshape(16, 8, 16, 8).mean((1, 3)).astype("float32")
    initializers = {
        "glorot_uniform": "glorot_uniform",
        "BilinearUpsampling()": cvx.initializers.BilinearUpsampling(),
    }
    figure, axes = panels(1, 4, height=2.2)
    axes[0, 0].imshow(small, cmap="gray")
    axes[0, 0].set_title("16 × 16")
    kernel = numbers(initializers["BilinearUpsampling()"]((16, 16, 1, 1)))[..., 0, 0]
    axes[0, 1].imshow(kernel, cmap="viridis")
    axes[0, 1].set_title("the kernel, 16 × 16")
    for place, (name, initializer) in zip(axes[0, 2:], initializers.items(), strict=True):
        layer = keras.layers.Conv2DTranspose(
            1, 16, strides=8, padding="same", kernel_initializer=initializer
        )
        place.imshow(numbers(layer(small[None, ..., None]))[0, ..., 0], cmap="gray")
        place.set_title(name)
    for place in axes.flat:
        frame(place)
    return figure
