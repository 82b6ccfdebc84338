"""Images with their masks, truth, prediction and errors beside one another."""

from typing import NamedTuple

import keras
import numpy as np

from keras_cvx import plugins
from keras_cvx.ops.arguments import check_integers, checked_data_format, ignored_ids
from keras_cvx.ops.masks import NO_CLASS
from keras_cvx.visualization.class_colours import class_colours
from keras_cvx.visualization.legend import Entry, Legend
from keras_cvx.visualization.mask_overlays import (
    ERROR_COLOURS,
    ERROR_NAMES,
    FALSE,
    IGNORED,
    STRIPES,
    error_map,
    overlay,
)
from keras_cvx.visualization.pixels import as_bytes
from keras_cvx.visualization.style import DOTS_PER_INCH, INK, figure_class, name_of, text_size

# The layout is done in whole dots, so that enlarged pixels come out equally large.
_MARGIN, _PAIR_GAP, _GAP, _ROW_GAP, _TITLE_STRIP, _LEGEND_GAP = 14, 10, 28, 12, 28, 12
_TITLE_POINTS = 9
_LARGEST_LABEL = 999  # colours are chosen up to there


@plugins.register("segmentation_gallery", kind="visualizer")
def segmentation_gallery(
    images,
    ground_truth=None,
    predictions=None,
    *,
    class_names=None,
    background=0,
    ignore_class=255,
    opacity=0.7,
    columns=1,
    panel_inches=2.4,
    data_format=None,
):
    """A picture of images with their masks: image, ground truth, prediction and errors in a row.

    Under a mask the image is grey, so that all colour is the mask's. A label has the same colour in
    every figure of the same `background`; colour-blind readers can tell the first ten apart. The
    legend names the classes that are in the masks. Ignored pixels are striped grey, and so are
    those for which a prediction has no class, −1, which count as background.

    In the map of errors a pixel that is not ignored in the truth is

    - right, where the prediction is the true class and that is an object's;
    - missed, where the truth is an object's and the prediction is the background or another class;
    - false, where the truth is the background and the prediction an object's;
    - else as the image: background that was predicted as such.

    An object's is every class but the background. With `background=None` that is every class, and
    so all that is not right is missed.

    The figure belongs to no pyplot state: it is neither shown nor saved. Call its `savefig`, or
    return it from a notebook cell.

    Args:
        images: `(n, height, width, channels)` with 1 or 3 channels, integers or floats from 0 to
            255; `(n, channels, height, width)` when `data_format` is `"channels_first"`. Or a list
            of such images, of any sizes.
        ground_truth: Integers `(n, height, width)`, with a last axis of 1 or without, or a list of
            such masks. None leaves the truth and the errors out.
        predictions: Masks likewise; or a dict with them under `"masks"`, as a segmenter predicts
            it, of which all else is left aside. None leaves the predictions and the errors out.
            Where an id is −1 there is no prediction.
        class_names: Sequence or dict of names by label. A label without a name shows its number.
        background: The label that is not painted, or None to paint all.
        ignore_class: None, integer, or sequence of integers: ids that are no class.
        opacity: Of the colours, above 0 and up to 1.
        columns: Images in a row. An image with its masks counts once.
        panel_inches: Longer side of a panel in inches. It is rounded so that every pixel of a
            small image becomes an equal square.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting when None.

    Returns:
        A `matplotlib.figure.Figure` with one axes per panel, image after image, and after them that
        of the legend, if there is one. A panel's label tells which it is; its axes are in the
        image's pixels.

    Raises:
        ValueError: If an argument has a wrong shape or dtype, a mask another size than its image,
            or images are floats from 0 to 1.
        ImportError: If matplotlib is missing.

    Example:
        >>> scene = np.zeros((1, 2, 3, 3), "uint8")
        >>> truth, found = [[[0, 2, 2], [0, 0, 255]]], [[[0, 2, 1], [1, 0, 0]]]
        >>> names = ["background", "cat", "dog"]
        >>> figure = segmentation_gallery(scene, truth, {"masks": found}, class_names=names)
        >>> [axes.get_label() for axes in figure.axes]
        ['Image', 'Ground truth', 'Prediction', 'Errors', 'legend']
        >>> [text.get_text() for text in figure.axes[-1].texts]
        ['Classes', 'cat', 'dog', 'Errors', 'right', 'missed', 'false', 'ignored']
    """
    make_figure = figure_class("segmentation_gallery")
    _check_options(background, opacity, columns, panel_inches)
    ignored = ignored_ids(ignore_class)
    pictures = _pictures(images, data_format)
    if isinstance(predictions, dict):
        if "masks" not in predictions:
            raise ValueError(
                "`predictions` must have the key 'masks'. "
                f"Received: a dictionary with the keys {sorted(map(str, predictions))}"
            )
        predictions = predictions["masks"]
    masks = {
        title: _masks(argument, given, pictures)
        for title, argument, given in (
            ("Ground truth", "ground_truth", ground_truth),
            ("Prediction", "predictions", predictions),
        )
        if given is not None
    }
    sides = _sides(masks, background, ignored)
    scales = [_scale(picture, panel_inches) for picture in pictures]
    sizes = [_panel_size(picture, scale) for picture, scale in zip(pictures, scales, strict=True)]
    layout = _Layout(sizes, ["Image", *(side.title for side in sides)], columns)
    names = class_names if class_names is not None else {}
    groups = _entries(sides, names, background is not None) if pictures else {}
    legend = Legend(groups, layout.width)
    figure = make_figure(layout.figure_size(legend), dpi=DOTS_PER_INCH, facecolor="white")
    for index, (picture, scale) in enumerate(zip(pictures, scales, strict=True)):
        panels = {"Image": picture}
        for title, maps, colours, ids in sides:
            options = {"opacity": opacity, "scale": scale}
            panels[title] = overlay(picture, maps[index], colours, ids, **options)
        for (title, pixels), place in zip(panels.items(), layout.panels[index], strict=True):
            axes = figure.add_axes(layout.fractions(figure, *place, *sizes[index]), label=title)
            _show(axes, pixels, picture.shape, scale)
    for title, center, middle in layout.titles:
        x, y, *_ = layout.fractions(figure, center, middle, 0, 0)
        figure.text(
            x, y, title, fontsize=_TITLE_POINTS, color=INK, ha="center", va="center"
        )  # fmt: skip
    if legend.height:
        legend.draw(figure, _MARGIN, _MARGIN)
    return figure


def _check_options(background, opacity, columns, panel_inches):
    check_integers(1, columns=columns)
    if not panel_inches > 0:
        raise ValueError(f"`panel_inches` must be positive. Received: panel_inches={panel_inches}")
    if not 0 < opacity <= 1:
        raise ValueError(f"`opacity` must be above 0 and up to 1. Received: opacity={opacity}")
    if background is not None:
        check_integers(0, background=background)


class _Side(NamedTuple):
    """What stands beside the image: for each image a map of labels, painted in their colours."""

    title: str
    maps: list
    colours: dict
    ignored: tuple


def _sides(masks, background, ignored):
    without = {"Ground truth": ignored, "Prediction": (*ignored, NO_CLASS)}
    colours = _colours(masks, background, without)
    sides = [_Side(title, maps, colours, without[title]) for title, maps in masks.items()]
    if len(masks) == 2:
        pairs = zip(*masks.values(), strict=True)
        maps = [error_map(truth, found, background, ignored) for truth, found in pairs]
        sides.append(_Side("Errors", maps, ERROR_COLOURS, (IGNORED,)))
    return sides


def _pictures(images, data_format):
    """The images as a list of uint8 RGB, channels last."""
    data_format = checked_data_format(data_format)
    if hasattr(images, "shape") and len(images.shape) != 4:
        raise ValueError(
            "`images` must be of rank 4, or a list of images of rank 3. "
            f"Received: images of shape {tuple(images.shape)}"
        )
    pictures = []
    for index, image in enumerate(images):
        pixels = keras.ops.convert_to_numpy(image)
        if pixels.ndim == 3 and data_format == "channels_first":
            pixels = pixels.transpose(1, 2, 0)
        if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3) or 0 in pixels.shape:
            raise ValueError(
                "`images` must have height, width and 1 or 3 channels each. Received: "
                f"images[{index}] of shape {np.shape(image)}, data_format={data_format!r}"
            )
        pictures.append(pixels)
    return [np.broadcast_to(x, (*x.shape[:-1], 3)) for x in as_bytes(pictures)]


def _masks(argument, given, pictures):
    """Masks as a list of integer arrays `(H, W)`."""
    if not hasattr(given, "__len__") or len(given) != len(pictures):
        received = f"{len(given)} masks" if hasattr(given, "__len__") else type(given).__name__
        raise ValueError(
            f"`{argument}` must be one mask for each of the {len(pictures)} images. "
            f"Received: {received}"
        )
    masks = []
    for index, (mask, picture) in enumerate(zip(given, pictures, strict=True)):
        ids = keras.ops.convert_to_numpy(mask)
        if ids.ndim == 3 and ids.shape[-1] == 1:
            ids = ids[..., 0]
        if ids.shape != picture.shape[:2]:
            mend = ""
            if ids.ndim == 3 and ids.shape[:2] == picture.shape[:2]:
                mend = " If these are scores, give their `argmax(-1)`."
            raise ValueError(
                f"`{argument}` must be of the size of their images. Received: mask {index} of "
                f"shape {ids.shape} for an image of {picture.shape[:2]}.{mend}"
            )
        if ids.dtype.kind not in "iub":
            raise ValueError(
                f"`{argument}` must be integers. Received: mask {index} of dtype {ids.dtype}. "
                "If these are scores, give their `argmax(-1)`; whole numbers, cast them."
            )
        # Booleans and the large unsigned ones have arithmetic of their own.
        masks.append(ids.astype("int64"))
    return masks


def _colours(masks, background, without):
    """Colours of the classes that occur, by label; without the ids of each title that are none."""
    labels = set()
    for title, maps in masks.items():
        labels |= {int(x) for mask in maps for x in np.unique(mask)} - {background, *without[title]}
    if labels and not 0 <= min(labels) <= max(labels) <= _LARGEST_LABEL:
        wrong = sorted(x for x in labels if not 0 <= x <= _LARGEST_LABEL)
        raise ValueError(
            f"Masks must be of labels from 0 to {_LARGEST_LABEL}. Received: {wrong[:5]}. Ids that "
            "are no class can be given as `ignore_class`."
        )
    # The background has no colour, so the class after it has the first.
    places = {x: x - (background is not None and x > background) for x in sorted(labels)}
    colours = class_colours(max(places.values(), default=-1) + 1)
    return {label: colours[place] for label, place in places.items()}


def _entries(sides, class_names, with_false):
    """The legend's groups by heading: classes, and kinds of errors with what is ignored."""
    if not sides:
        return {}
    classes = [Entry(name_of(class_names, x), colour) for x, colour in sides[0].colours.items()]
    ignored = []
    if any(np.isin(mask, side.ignored).any() for side in sides for mask in side.maps):
        dark, light = ((grey,) * 3 for grey in STRIPES)
        ignored = [Entry(ERROR_NAMES[IGNORED], light, dark)]
    if sides[-1].colours is not ERROR_COLOURS:
        return {"": classes + ignored}
    kinds = [
        Entry(ERROR_NAMES[kind], colour)
        for kind, colour in ERROR_COLOURS.items()
        if kind != FALSE or with_false
    ]
    return {"Classes": classes, "Errors": kinds + ignored}


def _scale(picture, panel_inches):
    """Dots of a pixel; whole numbers where there are several."""
    scale = panel_inches * DOTS_PER_INCH / max(picture.shape[:2])
    return round(scale) if scale > 1 else scale


def _panel_size(picture, scale):
    """Width and height of a panel in dots."""
    return [max(round(side * scale), 1) for side in picture.shape[1::-1]]


class _Layout:
    """Places in dots from the top left, within the margins.

    Attributes:
        panels: For each image a list of the left and top of its panels.
        titles: A title with its center and middle for each panel of the first row, if they have
            masks.
        width: Of all.
        height: Of all.
    """

    def __init__(self, sizes, titles, columns):
        self.panels: list[list] = []
        self.titles: list[tuple] = []
        strip, wide = 0, [0]
        if len(titles) > 1:
            strip = _TITLE_STRIP
            wide = [int(text_size(title, _TITLE_POINTS)[0] * DOTS_PER_INCH) for title in titles]
        columns = max(min(columns, len(sizes)), 1)
        cell = max(wide + [width for width, _ in sizes])
        block = len(titles) * cell + (len(titles) - 1) * _PAIR_GAP
        top = strip
        for first in range(0, len(sizes), columns):
            row = sizes[first : first + columns]
            tallest = max(height for _, height in row)
            for place, (width, height) in enumerate(row):
                lefts = [
                    place * (block + _GAP) + k * (cell + _PAIR_GAP) for k in range(len(titles))
                ]
                inset = (cell - width) // 2, (tallest - height) // 2
                self.panels.append([(left + inset[0], top + inset[1]) for left in lefts])
                if first == 0 and strip:
                    self.titles += [
                        (title, left + cell / 2, strip / 2 - 3)
                        for title, left in zip(titles, lefts, strict=True)
                    ]
            top += tallest + _ROW_GAP
        self.width = columns * block + (columns - 1) * _GAP if sizes else 0
        self.height = max(top - _ROW_GAP, 0)

    def figure_size(self, legend):
        """In inches, with the margins and the legend."""
        below = _LEGEND_GAP + legend.height if legend.height else 0
        dots = max(self.width, legend.width), self.height + below
        return [(side + 2 * _MARGIN) / DOTS_PER_INCH for side in dots]

    def fractions(self, figure, left, top, width, height):
        """A place as matplotlib has it: from the lower left, as shares of the figure's sides."""
        across, up = figure.get_size_inches() * DOTS_PER_INCH
        bottom = up - _MARGIN - top - height
        return (_MARGIN + left) / across, bottom / up, width / across, height / up


def _show(axes, pixels, shape, scale):
    from PIL import Image

    height, width, _ = shape
    # Of large images matplotlib keeps as much as is seen, and not each of their pixels.
    if scale < 0.5:
        pixels = np.asarray(Image.fromarray(pixels).reduce(int(1 / (2 * scale)) or 1))
    interpolation = "nearest" if scale >= 1 else "auto"
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation=interpolation, aspect="auto")
    axes.set_axis_off()
