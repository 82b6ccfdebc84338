"""A picture of all objects, each cut out of its image: wrong labels catch the eye."""

import math

import numpy as np

from keras_cvx import plugins


@plugins.register("close_ups", kind="visualizer", package="acme")
def close_ups(images, truth, *, class_names, columns=8):
    """A picture of objects, class by class.

    Args:
        images: NumPy array `(B, H, W, 3)`, values 0 to 255.
        truth: Dictionary of `"boxes"` `(B, N, 4)`, corners in pixels, and `"labels"` `(B, N)`, −1
            in padded rows.
        class_names: Names by label, a dictionary or a sequence.
        columns: Positive integer, the objects in a row.

    Returns:
        A `matplotlib.figure.Figure` with an axes for each object.

    Raises:
        ValueError: If there are masks in place of boxes.
    """
    from matplotlib.figure import Figure

    if not isinstance(truth, dict):
        raise ValueError(
            f"`truth` must be boxes and labels. Received: {type(truth).__name__}, of masks perhaps"
        )
    labels = np.asarray(truth["labels"])
    places = sorted(np.argwhere(labels >= 0).tolist(), key=lambda place: labels[tuple(place)])
    rows = max(1, math.ceil(len(places) / columns))
    figure = Figure(figsize=(1.2 * columns, 1.4 * rows))
    for number, (image, row) in enumerate(places, start=1):
        height, width = images[image].shape[:2]
        x0, y0, x1, y1 = np.clip(truth["boxes"][image][row], 0, [width, height] * 2)
        # At least the pixel that the corner lies in.
        across = slice(min(int(x0), width - 1), max(math.ceil(x1), int(x0) + 1))
        down = slice(min(int(y0), height - 1), max(math.ceil(y1), int(y0) + 1))
        axes = figure.add_subplot(rows, columns, number)
        axes.imshow(np.asarray(images[image][down, across]).round().astype("uint8"))
        axes.set_title(str(class_names[labels[image, row]]), fontsize=7)
        axes.set_axis_off()
    return figure
