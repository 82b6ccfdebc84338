"""What the columns of a CSV file of boxes mean."""

import dataclasses
import math

from keras_cvx.datasets.faults import DatasetError, told
from keras_cvx.datasets.parsing.numbers import finite_numbers
from keras_cvx.ops.arguments import check_keys
from keras_cvx.ops.boxes import FORMATS, check_format

# Names of the four numbers, as `columns` has them, by the format without `rel_`.
_NUMBERS = {
    "xyxy": ("x0", "y0", "x1", "y1"),
    "yxyx": ("y0", "x0", "y1", "x1"),
    "xywh": ("x0", "y0", "width", "height"),
    "center_xywh": ("x", "y", "width", "height"),
    "center_yxhw": ("y", "x", "height", "width"),
}
_FURTHER = ("label", "is_crowd", "image_height", "image_width")
_CORNERS, _OF_CORNERS = ("xmin", "ymin", "xmax", "ymax"), ("xyxy", "rel_xyxy")
_SIZE = {"image_height": "height", "image_width": "width"}
# Our names and theirs, of columns that a layout must have and of those that it may have; and the
# format of boxes. The first is of TensorFlow's Object Detection API, then of Open Images and of
# Global Wheat.
_WITH_HEADER = (
    ({"image": "filename", "label": "class", "box": _CORNERS}, _SIZE, "xyxy"),
    (
        {"image": "imageid", "label": "labelname", "box": _CORNERS},
        {"is_crowd": "isgroupof"},
        "rel_xyxy",
    ),
    ({"image": "image_id", "box": "bbox"}, _SIZE, "xywh"),
)
_KNOWN = (
    "filename, class, xmin, ymin, xmax, ymax (TensorFlow Object Detection API); ImageID, "
    "LabelName, XMin, XMax, YMin, YMax (Open Images); image_id, bbox (Global Wheat); or, without a "
    "header, the 6 columns path, x1, y1, x2, y2, class (keras-retinanet)"
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where things stand in a row.

    Attributes:
        num_columns: Integer, of every row.
        has_header: Whether the first row is none of an object.
        image: Place of the image's name.
        box: Tuple of the places of four numbers, or of one, of a text with all of them.
        bounding_box_format: One of `keras_cvx.ops.FORMATS`, of these numbers in their order.
        label: Place of the class, or None.
        is_crowd: Place of the sign of a crowd, or None.
        size: Tuple of the places of the image's height and width, or None.
    """

    num_columns: int
    has_header: bool
    image: int
    box: tuple
    bounding_box_format: str
    label: int | None = None
    is_crowd: int | None = None
    size: tuple | None = None


def check_columns(columns, bounding_box_format):
    """Raises if arguments are none that tell a layout, or a part of one.

    Args:
        columns: Any object.
        bounding_box_format: Any object.

    Raises:
        ValueError: If the format is none of Keras', or the columns are not those that it has.
    """
    if bounding_box_format is not None:
        check_format(bounding_box_format)
    if columns is None:
        return
    if bounding_box_format is None:
        raise ValueError(
            "`bounding_box_format` must be told with `columns`, one of "
            f"{FORMATS}. Received: bounding_box_format=None"
        )
    if not isinstance(columns, dict) or not all(isinstance(x, str) for x in columns.values()):
        raise ValueError(
            "`columns` must be a dict from names such as 'image' and 'label' to those in the "
            f"header. Received: columns={told(columns)}"
        )
    numbers = _NUMBERS[bounding_box_format.removeprefix("rel_")]
    check_keys(columns, "columns", ("image", "box", *numbers, *_FURTHER))
    found = [name for name in ("box", *numbers) if name in columns]
    sizes = [name for name in _SIZE if name in columns]
    if "image" not in columns or found not in (["box"], list(numbers)) or len(sizes) == 1:
        raise ValueError(
            f"`columns` must have 'image', and {', '.join(map(repr, numbers))} or 'box' for all "
            "four; and 'image_height' and 'image_width' both or none. "
            f"Received: columns={told(columns)}"
        )


def layout_of(path, row, columns, bounding_box_format):
    """The layout of a file.

    Args:
        path: Of the file, for the error.
        row: List of strings, the first one.
        columns: As for `keras_cvx.datasets.csv`, checked.
        bounding_box_format: Likewise.

    Returns:
        `Layout`.

    Raises:
        DatasetError: If it is not known, or has not the columns that are asked for.
    """
    header = [name.lower() for name in row]
    if columns is not None:
        wanted = {ours: theirs.lower() for ours, theirs in columns.items()}
        numbers = _NUMBERS[bounding_box_format.removeprefix("rel_")]
        if "box" not in wanted:
            wanted["box"] = tuple(wanted.pop(name) for name in numbers)
        return _with_header(path, header, wanted, bounding_box_format)
    for needed, further, usual in _WITH_HEADER:
        if _names(needed) <= set(header):
            more = further if _names(further) <= set(header) else {}
            if needed["box"] is _CORNERS and bounding_box_format not in (None, *_OF_CORNERS):
                raise ValueError(
                    f"`bounding_box_format` must be None or one of {_OF_CORNERS} for columns "
                    f"xmin, ymin, xmax, ymax. Received: {bounding_box_format!r}"
                )
            return _with_header(path, header, needed | more, bounding_box_format or usual)
    if _is_object(row):
        return Layout(len(row), False, 0, (1, 2, 3, 4), bounding_box_format or "xyxy", label=5)
    raise DatasetError(
        f"{str(path)!r} must have columns of a known layout: {_KNOWN}. Received: {told(row)}. "
        "Tell which they are with `columns` and `bounding_box_format`."
    )


def _names(names):
    """A set of all that are told, also within tuples."""
    return {name for x in names.values() for name in ((x,) if isinstance(x, str) else x)}


def _with_header(path, header, names, bounding_box_format):
    wrong = [name for name in sorted(_names(names)) if header.count(name) != 1]
    if wrong:
        raise DatasetError(
            f"{str(path)!r} must have each of the columns {sorted(_names(names))} once. "
            f"Received: {told(header)}, where {wrong[0]!r} comes {header.count(wrong[0])} times"
        )
    places: dict = {
        ours: header.index(theirs) if isinstance(theirs, str) else tuple(map(header.index, theirs))
        for ours, theirs in names.items()
    }
    box = places["box"]
    sized = "image_height" in places
    return Layout(
        num_columns=len(header),
        has_header=True,
        image=places["image"],
        box=box if isinstance(box, tuple) else (box,),
        bounding_box_format=bounding_box_format,
        label=places.get("label"),
        is_crowd=places.get("is_crowd"),
        size=(places["image_height"], places["image_width"]) if sized else None,
    )


def _is_object(row):
    """Whether a row is one of keras-retinanet's: a box and a class, or an image without any."""
    if len(row) != 6 or not row[0]:
        return False
    return not any(row[1:]) or finite_numbers(row[1:5], -math.inf, math.inf) is not None
