"""What several figures share: a photograph with digits, boxes on axes, colours."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import keras_cvx as cvx

# Colours that are read on light and on dark pages.
BLUE, ORANGE, RED, PURPLE, BROWN, GREY = (
    "#3f90da", "#f08c00", "#e0503c", "#a05fd0", "#a96b59", "#8b9094",
)  # fmt: skip


def panels(rows, columns, width=7.2, height=2.6, **kwargs):
    """A figure and its axes, as an array.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        width: In inches, of the whole.
        height: Likewise.
        **kwargs: As `Figure.subplots` takes them.
    """
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def scene(height=96, width=144, seed=3):
    """A sample as Keras has it: a wide photograph with digits, their boxes and mask.

    Of forty scenes it is cut from the one in which most digits are whole.

    Args:
        height: At most 144.
        width: At most 144.
        seed: Integer.
    """
    scenes = cvx.datasets.digit_scenes(40, size=144, seed=seed, max_objects=4)
    boxes, labels = scenes["bounding_boxes"]["boxes"], scenes["bounding_boxes"]["labels"]
    whole = (labels >= 0) & (boxes[..., 2] <= width) & (boxes[..., 3] <= height)
    cut = (labels >= 0) & ~whole & (boxes[..., 1] < height) & (boxes[..., 0] < width)
    index = np.argmax(whole.sum(-1) - 4 * cut.any(-1))
    return {
        "images": scenes["images"][index, :height, :width],
        "bounding_boxes": {
            "boxes": boxes[index][whole[index]],
            "labels": labels[index][whole[index]],
        },
        "segmentation_masks": scenes["segmentation_masks"][index, :height, :width],
    }


def outline(axes, box, colour, *, text=None, **kwargs):
    """Draws a box.

    Args:
        axes: Matplotlib axes.
        box: Corners `x0, y0, x1, y1`.
        colour: Of the line.
        text: Written at the upper left corner, or None.
        **kwargs: As `Rectangle` takes them.
    """
    x0, y0, x1, y1 = map(float, box)
    style = {"fill": False, "ec": colour, "lw": 1.8, **kwargs}
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, **style))
    if text is not None:
        axes.text(
            x0, y0, text, fontsize=8, va="bottom", color="white",
            bbox={"fc": colour, "ec": "none", "pad": 1.2},
        )  # fmt: skip


def show(axes, image, title="", boxes=(), labels=None, colour=ORANGE):
    """Shows an image with its boxes, in the frame in which its pixel i covers [i, i + 1).

    Args:
        axes: Matplotlib axes.
        image: `(H, W, 3)`, 0 to 255.
        title: Above it.
        boxes: `(N, 4)` corners in pixels.
        labels: `(N,)`; rows of −1 are left out.
        colour: Of the boxes.
    """
    height, width = image.shape[:2]
    pixels = np.clip(np.asarray(image), 0, 255).astype("uint8")
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation="nearest")
    for index, box in enumerate(boxes):
        if labels is None or labels[index] >= 0:
            outline(axes, box, colour)
    axes.set_title(title)
    frame(axes)


def frame(axes):
    """Leaves of the axes' frame a thin line: the image's border.

    Args:
        axes: Matplotlib axes.
    """
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)


def numbers(tensor):
    """A tensor as NumPy array.

    Args:
        tensor: Of any backend.
    """
    import keras

    return keras.ops.convert_to_numpy(tensor)


def values_and_slopes(function, x):
    """Values of a function of rows, and its slope in each row, by the backend's own derivative.

    Args:
        function: From `(N, ...)` to `(N,)`.
        x: Array `(N, ...)`.
    """
    import keras

    x = np.asarray(x, "float32")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        variable = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(variable)
            values = function(variable)
        return numbers(values), numbers(tape.gradient(values, variable))
    if keras.backend.backend() == "jax":
        import jax

        values, back = jax.vjp(function, x)
        return numbers(values), numbers(back(keras.ops.ones_like(values))[0])
    import torch

    variable = torch.tensor(x, requires_grad=True)
    values = function(variable)
    values.sum().backward()
    return values.detach().numpy(), variable.grad.numpy()


def disc(centre, radius, size=64):
    """A mask of a disc.

    Args:
        centre: x and y in pixels.
        radius: In pixels.
        size: Height and width of the mask.

    Returns:
        Integer array `(size, size)`.
    """
    y, x = np.mgrid[:size, :size] + 0.5
    return (np.hypot(x - centre[0], y - centre[1]) <= radius).astype("int32")


def detected(num_scenes=150, seed=0):
    """Ground truth, and detections as a detector of middling skill finds them.

    Args:
        num_scenes: Integer.
        seed: Integer.

    Returns:
        Tuple of truth and detections, dictionaries as of a detector.
    """
    truth = cvx.datasets.digit_scenes(num_scenes, split="test", size=128)["bounding_boxes"]
    rng = np.random.default_rng(seed)
    rows = 12
    found = {
        "boxes": np.full((num_scenes, rows, 4), -1, "float32"),
        "confidence": np.full((num_scenes, rows), -1, "float32"),
        "labels": np.full((num_scenes, rows), -1, "int32"),
    }
    for image, (boxes, labels) in enumerate(zip(truth["boxes"], truth["labels"], strict=True)):
        hits = []
        for box, label in zip(boxes, labels, strict=True):
            if label < 0 or rng.uniform() < 0.1:
                continue
            shake = rng.exponential(0.06)
            moved = box + shake * rng.normal(size=4) * np.tile(box[2:] - box[:2], 2)
            # Some digits are like others.
            confused = {4: 9, 9: 4, 3: 8, 7: 1, 5: 6}
            seen = confused.get(label, label) if rng.uniform() < 0.14 else label
            score = 0.85 - 2.0 * shake - 0.25 * (seen != label) + rng.normal(0, 0.12)
            hits.append((moved, score, seen))
        for _ in range(rng.poisson(1.0)):
            corner, side = rng.uniform(0, 90, 2), rng.uniform(12, 40, 2)
            score = rng.normal(0.3, 0.15)
            hits.append((np.concatenate([corner, corner + side]), score, rng.integers(10)))
        for row, (box, score, label) in enumerate(hits[:rows]):
            found["boxes"][image, row] = box
            found["confidence"][image, row] = np.clip(score, 0.01, 0.99)
            found["labels"][image, row] = label
    return truth, found


def diagram(nodes, edges, width=7.2, height=2.8):
    """Boxes and arrows: what a model is made of.

    Args:
        nodes: Dict of name to `(x, y, text, kind)`: x from 0 to 1, y likewise from below; kind is
            `"data"`, `"part"`, or `"training"`.
        edges: Pairs of names.
        width: In inches.
        height: Likewise.
    """
    from matplotlib import rcParams
    from matplotlib.patches import FancyArrowPatch

    figure, [[axes]] = panels(1, 1, width, height)
    axes.set(xlim=(-0.06, 1.06), ylim=(-0.08, 1.08))
    axes.set_axis_off()
    ink = rcParams["text.color"]
    faces = {
        "part": (BLUE, "-", 0.22),
        "training": (ORANGE, "--", 0.18),
        "data": ("none", "-", 0.0),
    }
    drawn = {}
    for name, (x, y, text, kind) in nodes.items():
        colour, line, alpha = faces[kind]
        edge = "none" if kind == "data" else colour
        style = {"boxstyle": "round,pad=0.45", "ec": edge, "ls": line, "lw": 1.2}
        face = "none" if kind == "data" else (*to_rgb(colour), alpha)
        drawn[name] = axes.text(
            x, y, text, ha="center", va="center", fontsize=8, linespacing=1.35,
            bbox={**style, "fc": face},
        )  # fmt: skip
    figure.canvas.draw()
    for first, second in edges:
        a, b = drawn[first], drawn[second]
        axes.add_patch(
            FancyArrowPatch(
                a.get_position(), b.get_position(), patchA=a.get_bbox_patch(),
                patchB=b.get_bbox_patch(), arrowstyle="-|>", mutation_scale=9, lw=1.0,
                color=ink, shrinkA=2, shrinkB=2, alpha=0.8,
            )
        )  # fmt: skip
    return figure


def shape(tensor):
    """The shape of a Keras tensor after the batch axis, as text.

    Args:
        tensor: A Keras tensor.
    """
    return " × ".join("?" if side is None else str(side) for side in tensor.shape[1:])
