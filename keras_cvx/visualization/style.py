"""What the pictures have in common: colours, sizes, and the names of classes."""

import keras
import numpy as np

# Ten colours that stay apart for colour-blind readers: Petroff, "Accessible color sequences for
# data visualization", arXiv:2107.02270, the ten-colour sequence.
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadb",
)
DARK_COLOURS = frozenset({"#bd1f01", "#832db6", "#717581"})
INK, PALE, GRID = "#202428", "#c4c9ce", "#e8eaec"
POINTS = 8
DOTS_PER_INCH = 160


def figure_class(function):
    """Matplotlib's `Figure`, which belongs to no pyplot state.

    Args:
        function: Name of the function that needs it, for the error.

    Raises:
        ImportError: If matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"`{function}` needs matplotlib. Install it with `pip install keras-cvx[vision]`."
        ) from error
    return Figure


def text_size(text, points):
    """Width and height of a line of text in inches; the height is that of any line.

    Args:
        text: String.
        points: Font size.

    Returns:
        Array `(2,)`.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties()
    # A name with dollars is no formula.
    text = text.replace("$", r"\$")
    width = TextPath((0, 0), text, size=points, prop=font).get_extents().width if text else 0.0
    height = TextPath((0, 0), "lp", size=points, prop=font).get_extents().height
    return np.array([width, height]) / 72


def widest(texts, points):
    """Width in inches of the widest of some lines of text; 0 of none.

    Args:
        texts: Iterable of strings.
        points: Font size.
    """
    return max((text_size(text, points)[0] for text in texts), default=0.0)


def name_of(class_names, label):
    """The name of a class, or its number if it has none.

    Args:
        class_names: Sequence or dictionary of names by label.
        label: Integer.
    """
    try:
        return str(class_names[label])
    except LookupError:
        return str(label)


def all_names(class_names, num_classes):
    """The names of all classes of a plot.

    Args:
        class_names: Sequence of C names, dictionary of names by label, or None.
        num_classes: Integer C.

    Returns:
        List of C strings.

    Raises:
        ValueError: If a sequence has another length.
    """
    if class_names is None:
        class_names = {}
    if not isinstance(class_names, dict) and len(class_names) != num_classes:
        raise ValueError(
            f"`class_names` must have a name for each of the {num_classes} classes. "
            f"Received: {len(class_names)} names"
        )
    return [name_of(class_names, label) for label in range(num_classes)]


def floats(values, name, mend):
    """An argument as a float64 array.

    Args:
        values: Array, tensor or nested list.
        name: The argument's name, for the error.
        mend: What else to pass, for the error.

    Raises:
        ValueError: If it is something else.
    """
    try:
        return keras.ops.convert_to_numpy(values).astype("float64")
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be an array of numbers. Received: {type(values).__name__}. {mend}"
        ) from error


def add_axes(figure, left, bottom, width, height):
    """Axes at a place in inches.

    Args:
        figure: Figure, of its final size.
        left: Distance from the left side.
        bottom: Distance from the lower side.
        width: Of what is drawn, without labels.
        height: Likewise.
    """
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def strip(axes):
    """Leaves of an axes' frame what is read: its left and lower side, and small labels."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(length=0, pad=6, labelsize=POINTS, labelcolor=INK)
    axes.set_axisbelow(True)
