import re

import pytest

from keras_cvx.datasets import DatasetError
from keras_cvx.datasets.parsing.csv_layouts import Layout, check_columns, layout_of

pytestmark = pytest.mark.host


def layout(row, columns=None, bounding_box_format=None):
    check_columns(columns, bounding_box_format)
    return layout_of("boxes.csv", row.split(","), columns, bounding_box_format)


def test_tensorflow_object_detection():
    row = "filename,width,height,class,xmin,ymin,xmax,ymax"
    assert layout(row) == Layout(8, True, 0, (4, 5, 6, 7), "xyxy", label=3, size=(2, 1))
    # In any order and case; a height alone tells no size.
    row = "Index,YMax,XMax,YMin,XMin,CLASS,Height,FileName"
    assert layout(row) == Layout(8, True, 7, (4, 3, 2, 1), "xyxy", label=5)
    fractions = layout(row, bounding_box_format="rel_xyxy")
    assert fractions.bounding_box_format == "rel_xyxy"
    with pytest.raises(ValueError, match=r"must be None or one of \('xyxy', 'rel_xyxy'\).*'xywh'"):
        layout(row, bounding_box_format="xywh")


def test_open_images():
    row = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf"
    assert layout(row) == Layout(10, True, 0, (4, 6, 5, 7), "rel_xyxy", label=2, is_crowd=9)
    without = layout("ImageID,LabelName,XMin,XMax,YMin,YMax")
    assert without == Layout(6, True, 0, (2, 4, 3, 5), "rel_xyxy", label=1)


def test_global_wheat():
    row = "image_id,width,height,bbox,source"
    assert layout(row) == Layout(5, True, 0, (3,), "xywh", size=(2, 1))


@pytest.mark.parametrize("row", ["a.png,1,2,3,4,car", "a.png,,,,,", "a.png,1.5,-2,3e1,4,5"])
def test_keras_retinanet(row):
    assert layout(row) == Layout(6, False, 0, (1, 2, 3, 4), "xyxy", label=5)


@pytest.mark.parametrize(
    "row",
    [
        "path,x1,y1,x2,y2,class",
        "a.png,1,2,3,car",
        "a.png,1,2,3,4,car,7",
        ",1,2,3,4,car",
        "a.png,1,nan,3,4,car",
        "a.png,1_0,2,3,4,car",
        "",
    ],
)
def test_what_is_no_known_layout(row):
    with pytest.raises(DatasetError, match=r"boxes\.csv' must have columns of a known layout"):
        layout(row)


def test_columns_that_are_told():
    row = "Photo,cx,cy,w,h,Kind,H,W,group"
    columns = {
        "image": "photo", "x": "CX", "y": "cy", "width": "w", "height": "h", "label": "kind",
        "image_height": "H", "image_width": "W", "is_crowd": "group",
    }  # fmt: skip
    # `h` and `H` are one name in any case, and so twice in the header.
    with pytest.raises(DatasetError, match=r"'h' comes 2 times"):
        layout(row, columns, "rel_center_xywh")
    row = row.replace("H,W", "rows,columns")
    columns |= {"image_height": "rows", "image_width": "columns"}
    expected = Layout(9, True, 0, (1, 2, 3, 4), "rel_center_xywh", 5, is_crowd=8, size=(6, 7))
    assert layout(row, columns, "rel_center_xywh") == expected
    one = {"image": "photo", "box": "kind"}
    assert layout(row, one, "yxyx") == Layout(9, True, 0, (5,), "yxyx")
    with pytest.raises(DatasetError, match=r"'name' comes 0 times"):
        layout(row, {"image": "name", "box": "kind"}, "yxyx")


@pytest.mark.parametrize(
    ("columns", "bounding_box_format", "message"),
    [
        ({"image": "a", "box": "b"}, None, "`bounding_box_format` must be told with `columns`"),
        ({"image": "a", "box": "b"}, "xxyy", "`bounding_box_format` must be one of"),
        ({"box": "b"}, "xyxy", "`columns` must have 'image', and 'x0', 'y0', 'x1', 'y1' or 'box'"),
        ({"image": "a", "x0": "b"}, "xyxy", "`columns` must have 'image', and 'x0'"),
        ({"image": "a", "box": "b", "image_width": "w"}, "xyxy", "'image_width' both or none"),
        ({"image": "a", "box": "b", "labels": "c"}, "xyxy", "Did you mean 'label'?"),
        ({"image": 0, "box": 1}, "xyxy", "`columns` must be a dict from names"),
        (["image"], "xyxy", "`columns` must be a dict from names"),
    ],
)
def test_wrong_arguments(columns, bounding_box_format, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_columns(columns, bounding_box_format)
