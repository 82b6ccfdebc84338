import sys

import keras
import numpy as np
import pytest
from matplotlib import pyplot as plt

from keras_cvx.visualization import segmentation_gallery
from keras_cvx.visualization.class_colours import class_colours
from keras_cvx.visualization.mask_overlays import ERROR_COLOURS, FALSE, MISSED, RIGHT, STRIPES

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), "uint8")
TRUTH = np.zeros((2, 24, 32), "uint8")
TRUTH[0, 2:9, 3:10], TRUTH[0, 12:20, 4:30], TRUTH[0, 22:] = 2, 7, 255
FOUND = TRUTH.copy()
FOUND[0, 2:9, 3:6], FOUND[0, 12:20, 20:30], FOUND[0, 0, 20:25], FOUND[0, 22:] = 0, 2, 11, 3
ALL = ["Image", "Ground truth", "Prediction", "Errors"]


def panels(figure, title):
    return [axes for axes in figure.axes if axes.get_label() == title]


def words(figure):
    """What the legend says."""
    return [text.get_text() for axes in panels(figure, "legend") for text in axes.texts]


def titles(figure):
    return [text.get_text() for text in figure.texts]


def pixels_of(render, figure, axes):
    pixels, _ = render(figure)
    left, bottom, right, top = (round(v) for v in axes.get_window_extent().extents)
    return pixels[len(pixels) - top : len(pixels) - bottom, left:right]


@pytest.mark.parametrize("masks", [{}, {"ground_truth": []}, {"predictions": {"masks": []}}])
def test_no_images(masks, render):
    for images in (IMAGES[:0], []):
        figure = segmentation_gallery(images, **masks)
        assert figure.axes == []
        render(figure)
    assert segmentation_gallery([], [], []).axes == []


def test_no_masks(render):
    figure = segmentation_gallery(IMAGES)
    assert [axes.get_label() for axes in figure.axes] == ["Image", "Image"]
    assert titles(figure) == []
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), IMAGES[1])


def test_masks_of_nothing(check_layout):
    figure = segmentation_gallery(IMAGES, TRUTH * 0, TRUTH * 0)
    assert words(figure) == ["Errors", "right", "missed", "false"]
    assert panels(segmentation_gallery(IMAGES, TRUTH * 0), "legend") == []
    check_layout(figure)


def test_panels_stand_in_a_row(check_layout):
    figure = segmentation_gallery(IMAGES, TRUTH, FOUND)
    assert [axes.get_label() for axes in figure.axes] == [*ALL, *ALL, "legend"]
    assert titles(figure) == ALL
    check_layout(figure)
    places = [axes.get_position() for axes in figure.axes]
    for first in (0, 4):
        for left, right in zip(
            places[first : first + 3], places[first + 1 : first + 4], strict=True
        ):
            assert left.x1 < right.x0
            assert left.y0 == pytest.approx(right.y0)
    assert places[4].y1 < places[0].y0
    assert places[4].x0 == pytest.approx(places[0].x0)
    assert places[-1].y1 < places[4].y0
    for text, place in zip(figure.texts, places, strict=False):
        assert text.get_position()[0] == pytest.approx((place.x0 + place.x1) / 2)
        assert text.get_position()[1] > place.y1


def test_one_side_alone():
    truth, found = segmentation_gallery(IMAGES, TRUTH), segmentation_gallery(IMAGES, None, FOUND)
    assert titles(truth) == ["Image", "Ground truth"]
    assert words(truth) == ["2", "7", "ignored"]
    assert titles(found) == ["Image", "Prediction"]
    assert words(found) == ["2", "3", "7", "11"]


def test_classes_are_painted_where_they_are(render):
    figure = segmentation_gallery(IMAGES, TRUTH, FOUND, opacity=1.0)
    for title, masks in (("Ground truth", TRUTH), ("Prediction", FOUND)):
        panel = pixels_of(render, figure, panels(figure, title)[0])
        scale = len(panel) // 24
        assert scale > 1
        small = panel[::scale, ::scale]
        for label in (2, 3, 7, 11):
            # The background has no colour, so class 1 has the first.
            found = (small == class_colours(11)[label - 1]).all(-1)
            np.testing.assert_array_equal(found, masks[0] == label)
        background = small[masks[0] == 0].astype(int)
        assert (background.max(-1) == background.min(-1)).all()
        ignored = masks[0].repeat(scale, 0).repeat(scale, 1) == 255
        assert set(np.unique(panel[ignored])) <= set(STRIPES)
    assert words(figure) == [
        "Classes", "2", "3", "7", "11", "Errors", "right", "missed", "false", "ignored",
    ]  # fmt: skip


def test_errors_are_painted_where_they_are(render):
    figure = segmentation_gallery(IMAGES, TRUTH, FOUND, opacity=1.0)
    panel = pixels_of(render, figure, panels(figure, "Errors")[0])
    small = panel[:: len(panel) // 24, :: len(panel) // 24]
    expected = {kind: np.zeros((24, 32), bool) for kind in ERROR_COLOURS}
    expected[RIGHT][2:9, 6:10] = expected[RIGHT][12:20, 4:20] = True
    expected[MISSED][2:9, 3:6] = expected[MISSED][12:20, 20:30] = True
    expected[FALSE][0, 20:25] = True
    for kind, colour in ERROR_COLOURS.items():
        np.testing.assert_array_equal((small == colour).all(-1), expected[kind])


def test_predictions_of_no_class_are_striped_and_missed(render):
    """As a segmenter predicts it, with lists of images of several sizes, of what was cut off."""
    images, truth, found = IMAGES[:, :, :24], TRUTH[:, :, :24], FOUND.astype("int32")[:, :, :24]
    found = found.copy()
    found[0, 12:20, 4:14], found[0, :2, :20] = -1, -1
    predictions = {"masks": list(found), "confidence": None}
    figure = segmentation_gallery(list(images), list(truth), predictions, opacity=1.0)
    panel = pixels_of(render, figure, panels(figure, "Prediction")[0])
    scale = len(panel) // 24
    none = found[0].repeat(scale, 0).repeat(scale, 1) == -1
    assert set(np.unique(panel[none])) == set(STRIPES)
    panel = pixels_of(render, figure, panels(figure, "Errors")[0])
    small = panel[::scale, ::scale]
    missed = (small == ERROR_COLOURS[MISSED]).all(-1)
    assert missed[12:20, 4:14].all()
    wrong = (small == ERROR_COLOURS[FALSE]).all(-1)
    np.testing.assert_array_equal(wrong, (truth[0] == 0) & (found[0] > 0))
    assert words(segmentation_gallery(images[:1], None, found[:1] * 0 - 1)) == ["ignored"]


def test_the_image_is_shown_as_it_is(render):
    figure = segmentation_gallery(IMAGES, TRUTH, panel_inches=2.47)  # 12.35 dots before rounding
    for image, axes in zip(IMAGES, panels(figure, "Image"), strict=True):
        panel = pixels_of(render, figure, axes)
        scale = panel.shape[0] // 24
        assert scale > 1
        np.testing.assert_array_equal(panel, image.repeat(scale, 0).repeat(scale, 1))


def test_without_a_background_all_is_painted(render):
    figure = segmentation_gallery(IMAGES, TRUTH, FOUND, background=None, opacity=1.0)
    assert words(figure) == [
        "Classes", "0", "2", "3", "7", "11", "Errors", "right", "missed", "ignored",
    ]  # fmt: skip
    panel = pixels_of(render, figure, panels(figure, "Ground truth")[0])
    small = panel[:: len(panel) // 24, :: len(panel) // 24]
    np.testing.assert_array_equal((small == class_colours(1)[0]).all(-1), TRUTH[0] == 0)
    panel = pixels_of(render, figure, panels(figure, "Errors")[0])
    small = panel[:: len(panel) // 24, :: len(panel) // 24]
    wrong = (TRUTH[0] != FOUND[0]) & (TRUTH[0] != 255)
    np.testing.assert_array_equal((small == ERROR_COLOURS[MISSED]).all(-1), wrong)


def test_another_background_and_no_ignored_id():
    figure = segmentation_gallery(IMAGES, TRUTH, background=2, ignore_class=None)
    assert words(figure) == ["0", "7", "255"]
    figure = segmentation_gallery(IMAGES, TRUTH, ignore_class=[7, 255])
    assert words(figure) == ["2", "ignored"]


def test_a_class_has_one_colour_in_every_figure():
    def colour_of(figure, name):
        [axes] = panels(figure, "legend")
        return axes.patches[words(figure).index(name)].get_facecolor()

    few, many = np.zeros((1, 24, 32), int), np.arange(24 * 32).reshape(1, 24, 32) % 150
    few[0, 0, 0] = 13
    # Of two figures with a heading before the classes or none.
    assert colour_of(segmentation_gallery(IMAGES[:1], few), "13") == colour_of(
        segmentation_gallery(IMAGES[:1], many), "13"
    )


def test_many_classes(check_layout, class_names):
    mask = np.arange(24 * 32).reshape(1, 24, 32) % 150
    names = class_names(150)
    figure = segmentation_gallery(IMAGES[:1], mask, mask, class_names=names)
    assert words(figure)[1:150] == names[1:]
    check_layout(figure)
    assert (
        len({patch.get_facecolor() for patch in panels(figure, "legend")[0].patches[:149]}) == 149
    )


@pytest.mark.parametrize(
    ("class_names", "expected"),
    [
        (None, ["2", "7"]),
        ({7: "seven"}, ["2", "seven"]),
        (["a", "b", "c"], ["c", "7"]),
        ([f"{i}$_{{x}}$" for i in range(10)], ["2$_{x}$", "7$_{x}$"]),
    ],
)
def test_class_names(class_names, expected, check_layout):
    figure = segmentation_gallery(IMAGES, TRUTH, class_names=class_names)
    assert words(figure)[:-1] == expected
    check_layout(figure)


@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("panel_inches", [0.3, 1.5])
def test_images_of_all_sizes(columns, panel_inches, check_layout, class_names):
    sizes = [(8, 8), (300, 20), (3, 400), (1, 1), (60, 70)]
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (*size, 3), "uint8") for size in sizes]
    truth = [rng.integers(0, 4, size) for size in sizes]
    found = {"masks": [rng.integers(0, 4, size) for size in sizes], "confidence": None}
    figure = segmentation_gallery(
        images, truth, found, class_names=class_names(4), columns=columns, panel_inches=panel_inches
    )
    check_layout(figure)
    extents = [axes.get_window_extent() for axes in figure.axes]
    for index, extent in enumerate(extents):
        assert not any(extent.overlaps(other) for other in extents[:index])
        longest = 160 * panel_inches
        if index < 20:
            height, width = sizes[index // 4]
            scale = longest / max(height, width)
            scale = round(scale) if scale > 1 else scale
            assert extent.width == pytest.approx(max(width * scale, 1), abs=0.6)
            assert extent.height == pytest.approx(max(height * scale, 1), abs=0.6)
    # Panels of a row are centred to half a dot.
    middles = sorted(extent.y0 + extent.y1 for extent in extents[:20])
    assert (np.diff(middles) > 2).sum() + 1 == -(-5 // columns)
    assert titles(figure) == ALL * min(columns, 5)


def test_large_images_are_kept_small(render):
    image = np.zeros((1, 900, 1200, 3), "uint8")
    mask = np.zeros((1, 900, 1200), "uint8")
    mask[0, :450] = 1
    figure = segmentation_gallery(image, mask, panel_inches=1.0, opacity=1.0)
    axes = panels(figure, "Ground truth")[0]
    assert axes.images[0].get_array().shape == (300, 400, 3)
    panel = pixels_of(render, figure, axes)
    assert panel.shape == (120, 160, 3)
    assert (panel[:58] == class_colours(1)[0]).all()
    assert (panel[62:] == 60).all()


@pytest.mark.parametrize(
    "form",
    [
        lambda masks: masks[..., None],
        lambda masks: masks.astype("int64"),
        list,
        keras.ops.convert_to_tensor,
        lambda masks: {"masks": masks, "confidence": np.ones(masks.shape)},
    ],
)
def test_forms_of_masks(form):
    expected = segmentation_gallery(IMAGES, None, FOUND)
    figure = segmentation_gallery(IMAGES, None, form(FOUND))
    for one, other in zip(figure.axes[:4], expected.axes[:4], strict=True):
        np.testing.assert_array_equal(one.images[0].get_array(), other.images[0].get_array())


def test_booleans_are_masks_of_one_class():
    assert words(segmentation_gallery(IMAGES, TRUTH == 7)) == ["1"]


@pytest.mark.parametrize(
    "images",
    [
        IMAGES.astype("float32") + 0.25,
        list(IMAGES),
        keras.ops.convert_to_tensor(IMAGES),
        [keras.ops.convert_to_tensor(image) for image in IMAGES],
    ],
)
def test_forms_of_images(images):
    shown = segmentation_gallery(images).axes[1].images[0].get_array()
    np.testing.assert_array_equal(shown, IMAGES[1])


def test_grey_and_channels_first():
    shown = segmentation_gallery(IMAGES[..., :1]).axes[1].images[0].get_array()
    np.testing.assert_array_equal(shown, IMAGES[1, ..., :1].repeat(3, -1))
    for images in (IMAGES.transpose(0, 3, 1, 2), list(IMAGES.transpose(0, 3, 1, 2))):
        figure = segmentation_gallery(images, TRUTH, data_format="channels_first")
        np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), IMAGES[1])


def test_pyplot_knows_nothing_of_it():
    before, backend = plt.get_fignums(), plt.get_backend()
    segmentation_gallery(IMAGES, TRUTH, FOUND)
    assert plt.get_fignums() == before
    assert plt.get_backend() == backend


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": IMAGES[0]}, "`images` must be of rank 4"),
        ({"images": IMAGES[..., :2]}, r"`images` must have height.*images\[0\] of shape \(24, 32"),
        ({"images": [IMAGES[0], IMAGES[0, 0]]}, r"`images` must .*images\[1\] of shape \(32, 3\)"),
        ({"images": IMAGES[:, :0]}, "`images` must have"),
        ({"data_format": "channels_first"}, "`images` must have.*data_format='channels_first'"),
        ({"data_format": "NHWC"}, "`data_format` must be"),
        ({"columns": 0}, "`columns` must be"),
        ({"panel_inches": 0}, "`panel_inches` must be"),
        ({"opacity": 0}, "`opacity` must be"),
        ({"opacity": 1.5}, "`opacity` must be"),
        ({"background": -1}, "`background` must be"),
        ({"ignore_class": "255"}, "`ignore_class` must be"),
        ({"ground_truth": TRUTH[:1]}, "`ground_truth` must be one mask for each of the 2.* 1 mask"),
        ({"ground_truth": 3}, "`ground_truth` must be one mask for each.*Received: int"),
        (
            {"ground_truth": TRUTH[:, 1:]},
            r"`ground_truth` must be of the .*mask 0 of shape \(23",
        ),
        ({"predictions": FOUND / 1}, "`predictions` must be integers.*float64.*argmax"),
        ({"predictions": np.ones((2, 24, 32, 5))}, r"`predictions` must be of the size.*`argmax"),
        (
            {"predictions": {"boxes": FOUND}},
            r"`predictions` must have the key 'masks'.*\['boxes",
        ),
        ({"predictions": FOUND.astype(int) - 2}, r"from 0 to 999. Received: \[-2\]"),
        ({"ground_truth": FOUND.astype(int) - 1}, r"from 0 to 999. Received: \[-1\]"),
        ({"predictions": FOUND.astype(int) * 500}, r"from 0 to 999. Received: \[1000, 1500, 3500"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=rf"{message}"):
        segmentation_gallery(**{"images": IMAGES, **arguments})


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"`segmentation_gallery` needs.*keras-cvx\[vision\]"):
        segmentation_gallery(IMAGES)
