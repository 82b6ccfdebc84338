"""Images with their boxes, truth and prediction beside one another."""

import keras
import numpy as np

from keras_cvx import plugins
from keras_cvx.ops.arguments import checked_data_format, tensor_of_rows
from keras_cvx.ops.boxes import check_format, convert
from keras_cvx.visualization.pixels import as_bytes
from keras_cvx.visualization.style import (
    DARK_COLOURS,
    DOTS_PER_INCH,
    PALETTE,
    figure_class,
    name_of,
    text_size,
)

# The layout is done in whole dots, so that enlarged pixels come out equally large.
_MARGIN, _PAIR_GAP, _GAP, _TITLE_STRIP = 12, 8, 24, 30  # dots
_TITLE_POINTS, _CAPTION_POINTS = 9, 6.5
_CAPTION_PADDING = 0.15  # of the caption's font size
_LINE_POINTS, _OUTLINE_POINTS = 1.25, 2.25


@plugins.register("gallery", kind="visualizer")
def gallery(
    images,
    ground_truth=None,
    detections=None,
    *,
    bounding_box_format="xyxy",
    class_names=None,
    min_confidence=0.3,
    columns=4,
    panel_inches=2.4,
    data_format=None,
):
    """A picture of images with their boxes, truth and prediction beside one another.

    The figure belongs to no pyplot state: it is neither shown nor saved. Call its `savefig`, or
    return it from a notebook cell.

    Args:
        images: `(n, height, width, channels)` with 1 or 3 channels, integers or floats from 0 to
            255; `(n, channels, height, width)` when `data_format` is `"channels_first"`.
        ground_truth: Dict of `boxes` `(n, N, 4)` and `labels` `(n, N)`; rows of label −1 are
            padding. None leaves the truth's panels out.
        detections: Dict of `boxes` `(n, K, 4)`, `confidence` `(n, K)` and `labels` `(n, K)`; rows
            of label −1, and rows past `num_detections` `(n,)` where it is given, are padding. None
            leaves the predictions' panels out.
        bounding_box_format: The boxes' format, named as in Keras.
        class_names: Sequence or dict of names by label. A label without a name shows its number.
        min_confidence: Detections of lower confidence are not drawn.
        columns: Images in a row. An image with truth and prediction counts once.
        panel_inches: Longer side of a panel in inches. It is rounded so that every pixel of a
            small image becomes an equal square.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting when None.

    Returns:
        A `matplotlib.figure.Figure` with one axes per panel, image after image, the truth before
        the prediction. Axes are in the image's pixels.

    Raises:
        ValueError: If an argument has a wrong shape, lacks a key, or names an unknown format.
        ImportError: If matplotlib is missing.

    Example:
        >>> scene = np.zeros((1, 8, 8, 3), "uint8")
        >>> truth = {"boxes": [[[1.0, 2.0, 5.0, 6.0]]], "labels": [[7]]}
        >>> figure = gallery(scene, truth, class_names={7: "seven"})
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['seven']
    """
    make_figure = figure_class("gallery")
    if columns < 1:
        raise ValueError(f"`columns` must be at least 1. Received: columns={columns}")
    if not panel_inches > 0:
        raise ValueError(f"`panel_inches` must be positive. Received: panel_inches={panel_inches}")
    pictures = _pictures(images, data_format)
    names = class_names if class_names is not None else {}
    check_format(bounding_box_format)
    sides: list[tuple] = []
    if ground_truth is not None:
        marks = _marks("ground_truth", ground_truth, pictures, bounding_box_format, names, None)
        sides.append(("Ground truth", marks))
    if detections is not None:
        marks = _marks(
            "detections", detections, pictures, bounding_box_format, names, min_confidence
        )
        sides.append(("Prediction", marks))
    sides = sides or [(None, [[] for _ in pictures])]

    figure_size, panels, scale = _layout(pictures.shape, columns, sides, panel_inches)
    figure = make_figure(figure_size / DOTS_PER_INCH, dpi=DOTS_PER_INCH, facecolor="white")
    for index, picture in enumerate(pictures):
        for (title, marks), (left, bottom, width, height) in zip(sides, panels[index], strict=True):
            across, up = figure_size
            axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
            _draw(axes, picture, marks[index], scale)
            if title is not None and index < columns:
                axes.set_title(title, fontsize=_TITLE_POINTS, color="black", pad=4)
    return figure


def _pictures(images, data_format):
    """The images as uint8 RGB, channels last."""
    data_format = checked_data_format(data_format)
    pixels = keras.ops.convert_to_numpy(images)
    shape = pixels.shape
    if pixels.ndim == 4 and data_format == "channels_first":
        pixels = pixels.transpose(0, 2, 3, 1)
    if pixels.ndim != 4 or pixels.shape[-1] not in (1, 3):
        raise ValueError(
            "`images` must be of rank 4 with 1 or 3 channels. "
            f"Received: images of shape {shape}, data_format={data_format!r}"
        )
    [pixels] = as_bytes([pixels])
    return np.broadcast_to(pixels, (*pixels.shape[:-1], 3))


def _marks(argument, records, pictures, bounding_box_format, names, min_confidence):
    """What to draw on every image: a list of `(box, label, caption)`, detections the surest first.

    Boxes are corners in pixels, cut to the image. `min_confidence` is None for the truth.
    """
    wanted = ("boxes", "labels") if min_confidence is None else ("boxes", "confidence", "labels")
    missing = [key for key in wanted if key not in records]
    if missing:
        raise ValueError(
            f"`{argument}` must have the keys {wanted}. Received: keys {tuple(records)}"
        )
    boxes, *rest = (
        keras.ops.convert_to_numpy(tensor_of_rows(records[key], f"{argument}[{key!r}]"))
        for key in wanted
    )
    count, height, width, _ = pictures.shape
    if boxes.ndim != 3 or boxes.shape[0] != count or boxes.shape[-1] != 4:
        raise ValueError(
            f'`{argument}["boxes"]` must have the shape ({count}, rows, 4), a first axis as long '
            f"as that of `images`. Received: {boxes.shape}"
        )
    for key, values in zip(wanted[1:], rest, strict=True):
        if values.shape != boxes.shape[:2]:
            raise ValueError(
                f'`{argument}["{key}"]` must have the shape {boxes.shape[:2]}, like `boxes`. '
                f"Received: {values.shape}"
            )
    labels = rest[-1].astype(int)
    confidence = np.ones(labels.shape) if min_confidence is None else rest[0]
    shown = labels >= 0
    if min_confidence is not None:
        shown &= confidence >= min_confidence
        if records.get("num_detections") is not None:
            found = keras.ops.convert_to_numpy(records["num_detections"])
            shown &= np.arange(boxes.shape[1]) < found.reshape(-1, 1)
    if boxes.size:
        corners = convert(boxes, bounding_box_format, "xyxy", height=height, width=width)
        boxes = np.clip(keras.ops.convert_to_numpy(corners), 0, (width, height, width, height))
    shown &= (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])

    marks: list[list] = []
    for index in range(count):
        marks.append([])
        for row in np.argsort(-confidence[index], kind="stable"):
            if not shown[index, row]:
                continue
            label = int(labels[index, row])
            caption = name_of(names, label)
            if min_confidence is not None:
                caption += f" {confidence[index, row]:.2f}"
            marks[-1].append((boxes[index, row].tolist(), label, caption))
    return marks


def _layout(shape, columns, sides, panel_inches):
    """Places the panels from the top left, row after row.

    Returns:
        The figure's `(width, height)`, every image's panels as `(left, bottom, width, height)`,
        both in dots, and how many dots a pixel of the images has.
    """
    count, height, width, _ = shape
    scale = panel_inches * DOTS_PER_INCH / max(height, width, 1)
    if scale > 1:
        scale = round(scale)
    panel = np.maximum(np.rint(np.array([width, height]) * scale).astype(int), 1)
    strip = 0 if sides[0][0] is None else _TITLE_STRIP
    columns, rows = max(min(columns, count), 1), max(-(-count // columns), 1)
    block = len(sides) * panel[0] + (len(sides) - 1) * _PAIR_GAP
    size = np.array(
        [
            2 * _MARGIN + columns * block + (columns - 1) * _GAP,
            2 * _MARGIN + strip + rows * panel[1] + (rows - 1) * _GAP // 2,
        ]
    )
    panels = []
    for index in range(count):
        row, column = divmod(index, columns)
        left = _MARGIN + column * (block + _GAP)
        top = _MARGIN + strip + row * (panel[1] + _GAP // 2)
        bottom = size[1] - top - panel[1]
        panels.append(
            [(left + side * (panel[0] + _PAIR_GAP), bottom, *panel) for side in range(len(sides))]
        )
    return size, panels, scale


def _draw(axes, picture, marks, scale):
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    height, width, _ = picture.shape
    interpolation = "nearest" if scale >= 1 else "auto"
    axes.imshow(picture, extent=(0, width, height, 0), interpolation=interpolation, aspect="auto")
    axes.set_axis_off()
    outline = [withStroke(linewidth=_OUTLINE_POINTS, foreground="black")]
    taken: list[tuple] = []
    for order, (box, label, caption) in enumerate(marks):
        x0, y0, x1, y1 = box
        colour = PALETTE[label % len(PALETTE)]
        axes.add_patch(
            Rectangle(
                (x0, y0),
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor=colour,
                linewidth=_LINE_POINTS,
                path_effects=outline,
                # The line of a box on the border keeps its outer half.
                clip_on=False,
                zorder=2,
            )
        )
        size = _caption_size(caption) / scale
        corner = _caption_corner(box, size, (width, height), [m[0] for m in marks], taken)
        taken.append((*corner, *(corner + size)))
        padding = _CAPTION_PADDING * _CAPTION_POINTS * DOTS_PER_INCH / 72 / scale
        axes.text(
            corner[0] + padding,
            corner[1] + size[1] - padding,
            caption,
            fontsize=_CAPTION_POINTS,
            color="white" if colour in DARK_COLOURS else "black",
            ha="left",
            va="bottom",
            parse_math=False,
            bbox={"boxstyle": f"square,pad={_CAPTION_PADDING}", "fc": colour, "ec": "none"},
            clip_on=True,
            zorder=3 + 1 / (1 + order),  # the surest on top
        )


def _caption_size(caption):
    """Width and height of a caption with its padding, in dots."""
    padding = 2 * _CAPTION_PADDING * _CAPTION_POINTS / 72
    return (text_size(caption, _CAPTION_POINTS) + padding) * DOTS_PER_INCH


def _caption_corner(box, size, image_size, boxes, taken):
    """Top left corner for a caption: inside the image, and where it hides least.

    Above the box is best, then below, beside and inside it; the first place that covers the least
    of the other captions, and then of the boxes, wins.
    """
    x0, y0, x1, y1 = box
    width, height = size
    wanted = [
        (x0, y0 - height),
        (x0, y1),
        (x1 - width, y0 - height),
        (x1 - width, y1),
        (x1, y0),
        (x0 - width, y0),
        (x0, y0),
    ]
    room = np.maximum(np.array(image_size) - size, 0)
    corners = [np.clip(corner, 0, room) for corner in wanted]

    def hidden(corner):
        caption = (*corner, *(corner + size))
        # Rounded, so that a rounding error never outweighs the order of preference.
        return [
            round(sum(_shared_area(caption, other) for other in others), 3)
            for others in (taken, boxes)
        ]

    return min(corners, key=hidden)


def _shared_area(box, other):
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    return max(across, 0) * max(down, 0)
