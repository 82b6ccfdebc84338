import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from keras_cvx.visualization import gallery

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), "uint8")
TRUTH = {
    "boxes": np.array(
        [[[2, 3, 10, 12], [16, 4, 30, 20]], [[5, 5, 9, 9], [-1, -1, -1, -1]]], "float32"
    ),
    "labels": np.array([[7, 2], [0, -1]], "int32"),
}
DETECTIONS = {
    "boxes": np.array(
        [
            [[2, 3, 11, 12], [17, 4, 30, 20], [1, 1, 4, 4]],
            [[5, 5, 9, 9], [-1, -1, -1, -1], [-1, -1, -1, -1]],
        ],
        "float32",
    ),
    "confidence": np.array([[0.93, 0.5, 0.2], [0.31, -1, -1]], "float32"),
    "labels": np.array([[7, 2, 2], [0, -1, -1]], "int32"),
    "num_detections": np.array([3, 1], "int32"),
}


def rectangles(axes):
    """Corners of the boxes drawn on a panel."""
    assert all(isinstance(patch, Rectangle) for patch in axes.patches)
    return [
        [*patch.get_xy(), patch.get_x() + patch.get_width(), patch.get_y() + patch.get_height()]
        for patch in axes.patches
    ]


def captions(axes):
    return [text.get_text() for text in axes.texts]


def render(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3], canvas.get_renderer()


def panel_pixels(figure, axes, pixels):
    left, bottom, right, top = (round(v) for v in axes.get_window_extent().extents)
    return pixels[len(pixels) - top : len(pixels) - bottom, left:right]


@pytest.mark.parametrize("records", [{}, {"ground_truth": TRUTH}, {"detections": DETECTIONS}])
def test_no_images(records):
    nothing = {
        side: {key: values[:0] for key, values in record.items()}
        for side, record in records.items()
    }
    figure = gallery(IMAGES[:0], **nothing)
    assert figure.axes == []
    render(figure)


def test_no_objects():
    boxes = {"boxes": np.zeros((2, 0, 4)), "labels": np.zeros((2, 0))}
    figure = gallery(IMAGES, boxes, {**boxes, "confidence": np.zeros((2, 0))})
    assert [rectangles(axes) for axes in figure.axes] == [[]] * 4
    render(figure)


def test_images_alone():
    figure = gallery(IMAGES)
    assert len(figure.axes) == 2
    assert all(axes.get_title() == "" and not axes.patches for axes in figure.axes)


def test_truth_and_prediction_stand_beside_one_another():
    figure = gallery(IMAGES, TRUTH, DETECTIONS, columns=1)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["Ground truth", "Prediction", "", ""]
    assert rectangles(figure.axes[0]) == [[2, 3, 10, 12], [16, 4, 30, 20]]
    assert rectangles(figure.axes[1]) == [[2, 3, 11, 12], [17, 4, 30, 20]]
    assert rectangles(figure.axes[2]) == [[5, 5, 9, 9]]
    assert rectangles(figure.axes[3]) == [[5, 5, 9, 9]]
    assert captions(figure.axes[0]) == ["7", "2"]
    assert captions(figure.axes[1]) == ["7 0.93", "2 0.50"]
    first, second, third, fourth = (axes.get_position() for axes in figure.axes)
    assert first.x1 < second.x0
    assert first.y0 == pytest.approx(second.y0)
    assert third.x0 == pytest.approx(first.x0)
    assert third.y1 < first.y0
    assert fourth.x0 == pytest.approx(second.x0)


def test_one_side_alone():
    truth, prediction = gallery(IMAGES, TRUTH), gallery(IMAGES, None, DETECTIONS)
    assert [axes.get_title() for axes in truth.axes] == ["Ground truth"] * 2
    assert [axes.get_title() for axes in prediction.axes] == ["Prediction"] * 2


@pytest.mark.parametrize(
    ("min_confidence", "drawn"), [(0.0, 4), (0.25, 3), (0.4, 2), (0.6, 1), (1.0, 0)]
)
def test_unsure_detections_are_hidden(min_confidence, drawn):
    figure = gallery(IMAGES, None, DETECTIONS, min_confidence=min_confidence)
    assert sum(len(axes.patches) for axes in figure.axes) == drawn


def test_rows_past_the_count_are_hidden():
    detections = {**DETECTIONS, "num_detections": np.array([1, 0])}
    figure = gallery(IMAGES, None, detections, min_confidence=0.0)
    assert [len(axes.patches) for axes in figure.axes] == [1, 0]


def test_padded_rows_are_hidden_whatever_their_box():
    truth = {"boxes": np.tile(np.float32([2, 3, 9, 9]), (1, 2, 1)), "labels": np.array([[4, -1]])}
    assert len(gallery(IMAGES[:1], truth).axes[0].patches) == 1


def test_the_count_is_optional():
    detections = {key: DETECTIONS[key] for key in ("boxes", "confidence", "labels")}
    figure = gallery(IMAGES, None, detections, min_confidence=0.0)
    assert [len(axes.patches) for axes in figure.axes] == [3, 1]


def test_the_surest_detection_is_drawn_first():
    detections = {key: value[:, ::-1] for key, value in DETECTIONS.items() if value.ndim > 1}
    figure = gallery(IMAGES, None, detections)
    assert captions(figure.axes[0]) == ["7 0.93", "2 0.50"]


@pytest.mark.parametrize(
    ("bounding_box_format", "box"),
    [
        ("xywh", [2, 3, 8, 9]),
        ("center_xywh", [6, 7.5, 8, 9]),
        ("yxyx", [3, 2, 12, 10]),
        ("rel_xyxy", [2 / 32, 3 / 24, 10 / 32, 12 / 24]),
    ],
)
def test_box_formats(bounding_box_format, box):
    truth = {"boxes": np.array([[box]], "float32"), "labels": np.array([[1]])}
    figure = gallery(IMAGES[:1], truth, bounding_box_format=bounding_box_format)
    np.testing.assert_allclose(rectangles(figure.axes[0]), [[2, 3, 10, 12]], atol=1e-4)


def test_boxes_are_cut_to_the_image():
    boxes = np.array([[[-5, -5, 40, 10], [50, 2, 60, 9], [8, 8, 8, 9]]], "float32")
    figure = gallery(IMAGES[:1], {"boxes": boxes, "labels": np.array([[0, 1, 2]])})
    assert rectangles(figure.axes[0]) == [[0, 0, 32, 10]]


def test_a_class_has_one_colour():
    figure = gallery(IMAGES, TRUTH, DETECTIONS)
    truth, prediction = (
        [to_hex(patch.get_edgecolor()) for patch in axes.patches] for axes in figure.axes[:2]
    )
    assert truth == prediction
    assert len(set(truth)) == 2
    for axes in figure.axes:
        for patch, text in zip(axes.patches, axes.texts, strict=True):
            assert to_hex(text.get_bbox_patch().get_facecolor()) == to_hex(patch.get_edgecolor())


def test_captions_can_be_read_on_their_own_colour():
    def luminance(colour):
        channels = np.array([int(to_hex(colour)[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return linear @ [0.2126, 0.7152, 0.0722]

    boxes = {"boxes": np.tile(np.float32([1, 1, 9, 9]), (1, 11, 1)), "labels": np.arange(11)[None]}
    for text in gallery(IMAGES[:1], boxes).axes[0].texts:
        pair = sorted(map(luminance, (text.get_color(), text.get_bbox_patch().get_facecolor())))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5  # WCAG 2.1, success criterion 1.4.3


@pytest.mark.parametrize(
    ("class_names", "expected"),
    [
        (None, ["7", "2"]),
        ({7: "seven"}, ["seven", "2"]),
        (["a", "b", "c"], ["7", "c"]),
        ([f"{i}$_{{x}}$" for i in range(10)], ["7$_{x}$", "2$_{x}$"]),
    ],
)
def test_class_names(class_names, expected):
    figure = gallery(IMAGES, TRUTH, class_names=class_names)
    assert captions(figure.axes[0]) == expected
    render(figure)


corner = st.floats(-4, 36, width=32)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(corner, corner, corner, corner, st.integers(0, 12)), max_size=4))
def test_captions_stay_inside_their_panel(rows):
    boxes = np.array([row[:4] for row in rows], "float32").reshape(1, -1, 4)
    boxes = np.concatenate(
        [np.minimum(boxes[..., :2], boxes[..., 2:]), np.maximum(boxes[..., :2], boxes[..., 2:])], -1
    )
    labels = np.array([row[4] for row in rows], int).reshape(1, -1)
    figure = gallery(IMAGES[:1], {"boxes": boxes, "labels": labels}, class_names=["gjpqy"] * 13)
    _, renderer = render(figure)
    panel = figure.axes[0].get_window_extent()
    for text in figure.axes[0].texts:
        extent = text.get_bbox_patch().get_window_extent(renderer)
        assert extent.x0 >= panel.x0 - 2.5
        assert extent.y0 >= panel.y0 - 2.5
        assert extent.x1 <= panel.x1 + 2.5
        assert extent.y1 <= panel.y1 + 2.5


def test_captions_of_one_place_do_not_hide_each_other():
    boxes = np.tile(np.float32([12, 8, 20, 16]), (1, 3, 1))
    figure = gallery(IMAGES[:1], {"boxes": boxes, "labels": np.array([[1, 2, 3]])})
    _, renderer = render(figure)
    extents = [t.get_bbox_patch().get_window_extent(renderer) for t in figure.axes[0].texts]
    for index, extent in enumerate(extents):
        assert not any(extent.padded(-2).overlaps(other.padded(-2)) for other in extents[:index])


def test_small_images_are_enlarged_in_equal_squares():
    figure = gallery(IMAGES, columns=2, panel_inches=2.47)  # 12.35 dots a pixel before rounding
    pixels, _ = render(figure)
    for image, axes in zip(IMAGES, figure.axes, strict=True):
        panel = panel_pixels(figure, axes, pixels)
        scale = panel.shape[0] // 24
        assert scale > 1
        np.testing.assert_array_equal(panel, image.repeat(scale, 0).repeat(scale, 1))


def test_a_box_is_painted_around_its_pixels():
    image = np.full((1, 24, 32, 3), 128, "uint8")
    truth = {"boxes": np.float32([[[4, 6, 20, 18]]]), "labels": np.array([[0]])}
    figure = gallery(image, truth)
    pixels, _ = render(figure)
    panel = panel_pixels(figure, figure.axes[0], pixels)
    scale = panel.shape[0] // 24
    middle = panel[12 * scale, :, :].astype(int)
    painted = np.flatnonzero((middle != 128).any(axis=-1))
    left, right = painted[painted < 12 * scale], painted[painted > 12 * scale]
    assert (left[0] + left[-1] + 1) / 2 == pytest.approx(4 * scale, abs=1)
    assert (right[0] + right[-1] + 1) / 2 == pytest.approx(20 * scale, abs=1)
    assert len(left) == len(right)
    edge = [round(255 * v) for v in figure.axes[0].patches[0].get_edgecolor()[:3]]
    assert (middle[left] == edge).all(axis=-1).any()
    assert (middle[right] == edge).all(axis=-1).any()


def test_large_images_are_reduced():
    figure = gallery(np.zeros((1, 600, 1200, 3), "uint8"), panel_inches=2.0)
    extent = figure.axes[0].get_window_extent()
    assert (extent.width, extent.height) == pytest.approx((320, 160))
    render(figure)


@pytest.mark.parametrize(
    "images",
    [
        IMAGES.astype("float32"),
        IMAGES.astype("int64"),
        IMAGES.astype("float32") + 0.25,
        keras.ops.convert_to_tensor(IMAGES),
    ],
)
def test_kinds_of_images(images):
    shown = gallery(images).axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown, IMAGES[0])


def test_floats_are_cut_to_the_range():
    images = np.float32([-9.0, 300.0, 127.0]) * np.ones((1, 4, 4, 1), "float32")
    shown = gallery(images).axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown[0, 0], [0, 255, 127])


def test_grey_images():
    shown = gallery(IMAGES[..., :1]).axes[1].images[0].get_array()
    np.testing.assert_array_equal(shown, IMAGES[1, ..., :1].repeat(3, -1))


def test_channels_first():
    figure = gallery(IMAGES.transpose(0, 3, 1, 2), TRUTH, data_format="channels_first")
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), IMAGES[0])
    assert rectangles(figure.axes[0]) == rectangles(gallery(IMAGES, TRUTH).axes[0])


@pytest.mark.parametrize("columns", [1, 2, 3, 8])
def test_panels_do_not_overlap(columns):
    images = IMAGES[[0, 1, 0, 1, 0]]
    truth = {key: value[[0, 1, 0, 1, 0]] for key, value in TRUTH.items()}
    detections = {key: value[[0, 1, 0, 1, 0]] for key, value in DETECTIONS.items()}
    figure = gallery(images, truth, detections, columns=columns, panel_inches=1.0)
    extents = [axes.get_window_extent() for axes in figure.axes]
    assert len(extents) == 10
    width, height = figure.get_size_inches() * figure.dpi
    for index, extent in enumerate(extents):
        assert extent.width == pytest.approx(extents[0].width)
        assert extent.x0 >= 0
        assert extent.y0 >= 0
        assert extent.x1 <= width
        assert extent.y1 <= height
        assert not any(extent.overlaps(other) for other in extents[:index])
    rows = len({round(extent.y0) for extent in extents})
    assert rows == -(-5 // columns)


def test_pyplot_knows_nothing_of_it():
    before, backend = plt.get_fignums(), plt.get_backend()
    gallery(IMAGES, TRUTH)
    assert plt.get_fignums() == before
    assert plt.get_backend() == backend


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"images": IMAGES[0]}, "images"),
        ({"images": IMAGES[..., :2]}, "images"),
        ({"images": IMAGES, "data_format": "channels_first"}, "images"),
        ({"images": IMAGES, "data_format": "NHWC"}, "data_format"),
        ({"images": IMAGES, "columns": 0}, "columns"),
        ({"images": IMAGES, "panel_inches": 0}, "panel_inches"),
        ({"images": IMAGES, "bounding_box_format": "xxyy"}, "bounding_box_format"),
        ({"images": IMAGES, "ground_truth": {"boxes": TRUTH["boxes"]}}, "ground_truth"),
        ({"images": IMAGES, "detections": TRUTH}, "detections"),
        ({"images": IMAGES[:1], "ground_truth": TRUTH}, "ground_truth"),
        (
            {"images": IMAGES, "ground_truth": {**TRUTH, "labels": np.zeros((2, 5))}},
            "ground_truth",
        ),
        (
            {"images": IMAGES, "ground_truth": {**TRUTH, "labels": [[1], [2, 3]]}},
            "ground_truth",
        ),
        (
            {"images": IMAGES, "ground_truth": {**TRUTH, "boxes": np.zeros((2, 2, 5))}},
            "ground_truth",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=rf"`{name}.* must .*Received: "):
        gallery(**arguments)


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"keras-cvx\[vision\]"):
        gallery(IMAGES)
