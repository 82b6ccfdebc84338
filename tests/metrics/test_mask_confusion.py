import numpy as np
import pytest

from keras_cvx.metrics.mask_confusion import MaskConfusion

TRUTH = np.array([[[0, 1, 255], [254, 1, 2]]])
FOUND = np.array([[[0, 2, 1], [0, 1, 0]]])


class Plain(MaskConfusion):
    """Nothing but the counts."""

    def result(self):
        return self._confusion()


def counted(y_true, y_pred, sample_weight=None, **options):
    metric = Plain(3, **{"ignore_class": (255, 254), **options})
    metric.update_state(y_true, y_pred, sample_weight)
    return metric.confusion_matrix.tolist()


EXPECTED = [[1, 0, 0], [0, 1, 1], [1, 0, 0]]


def test_nothing():
    assert counted(np.zeros((0, 2, 3), int), np.zeros((0, 2, 3), int)) == np.zeros((3, 3)).tolist()


def test_ids_with_and_without_a_last_axis():
    assert counted(TRUTH, FOUND) == EXPECTED
    assert counted(TRUTH[..., None], FOUND) == EXPECTED
    assert counted(TRUTH.astype("uint8"), FOUND[..., None].astype("uint8")) == EXPECTED


def test_scores_on_any_axis():
    scores = np.eye(3, dtype="float32")[FOUND]
    assert counted(TRUTH, scores, sparse_y_pred=False) == EXPECTED
    first = np.moveaxis(scores, -1, 1)
    assert counted(TRUTH, first, sparse_y_pred=False, axis=1) == EXPECTED


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_one_hot_truth_whose_pixels_without_a_class_are_ignored(dtype):
    one_hot = (TRUTH[..., None] == np.arange(3)).astype(dtype)
    assert counted(one_hot, FOUND, sparse_y_true=False) == EXPECTED
    # Class 2 is ignored, and so is what has no class, which argmax would call class 0.
    ignoring = counted(one_hot, FOUND, sparse_y_true=False, ignore_class=2)
    assert ignoring == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_weights_of_images_and_of_pixels():
    doubled = (2 * np.array(EXPECTED)).tolist()
    assert counted(TRUTH, FOUND, np.float32([2])) == doubled
    assert counted(TRUTH, FOUND, np.full(TRUTH.shape, 2, "float32")) == doubled
    assert counted(TRUTH, FOUND, np.full((*TRUTH.shape, 1), 2, "float32")) == doubled
    with pytest.raises(ValueError, match="`sample_weight` must broadcast to the masks"):
        counted(TRUTH, FOUND, np.ones(2, "float32"))


def test_ids_out_of_range_are_refused_or_let_pass():
    with pytest.raises(ValueError, match="others for 1 pixels in `y_true`, and for 0 more"):
        counted(TRUTH, FOUND, ignore_class=255)
    assert counted(TRUTH, FOUND, ignore_class=255, out_of_range="ignore") == EXPECTED
    with pytest.raises(ValueError, match="`out_of_range` must be 'raise' or 'ignore'"):
        Plain(3, out_of_range="clip")


def test_no_such_axis():
    scores = np.zeros((1, 2, 3, 3), "float32")
    with pytest.raises(ValueError, match=r"`axis` must be one of the 4 axes of `y_pred`.*axis=4"):
        counted(TRUTH, scores, sparse_y_pred=False, axis=4)
    with pytest.raises(ValueError, match=r"`axis` must be an integer. Received: axis='last'"):
        Plain(3, axis="last")


def test_shapes_that_do_not_go_together():
    with pytest.raises(ValueError, match="must be of the same pixels"):
        counted(TRUTH, FOUND[:, :1])
    with pytest.raises(ValueError, match="`y_pred` must have 3 classes on axis -1"):
        counted(TRUTH, np.zeros((1, 2, 3, 4), "float32"), sparse_y_pred=False)


def test_predictions_of_no_class_are_missed():
    """They are in no column, but with scores, where they are NaN's, an error all the same."""
    metric = Plain(3, (255, 254))
    metric.update_state(TRUTH, np.where(FOUND == 2, -1, FOUND))
    assert metric.confusion_matrix.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert np.asarray(metric.result())[:, 3].tolist() == [0, 1, 0, 0]
    assert counted(TRUTH, np.where(FOUND == 2, -1, FOUND), out_of_range="ignore") == [
        [1, 0, 0], [0, 1, 0], [1, 0, 0],
    ]  # fmt: skip
    for wrong in (-2, 3):
        with pytest.raises(ValueError, match="and for 1 more in `y_pred`"):
            counted(TRUTH, np.where(FOUND == 2, wrong, FOUND))
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match="others for 1 pixels in `y_true`"):
            counted(np.where(TRUTH == 2, wrong, TRUTH), FOUND)


def test_lists_of_masks_of_several_sizes():
    truth, found = TRUTH[0], FOUND[0]
    halves = [[x, x[:, :2]] for x in (truth, found)]
    assert counted(*halves) == [[2, 0, 0], [0, 2, 2], [1, 0, 0]]
    weights = np.float32([1, 0])
    assert counted(*halves, weights) == EXPECTED
    assert counted(*halves, 2.0) == [[4, 0, 0], [0, 4, 4], [2, 0, 0]]
    scores = [np.eye(3, dtype="float32")[x] for x in halves[1]]
    assert counted(halves[0], scores, sparse_y_pred=False) == [[2, 0, 0], [0, 2, 2], [1, 0, 0]]
    with pytest.raises(ValueError, match=r"equally many masks\. Received: 2 and 1"):
        counted(halves[0], [found])
    with pytest.raises(ValueError, match="must be of the same pixels"):
        counted(halves[0], [found, found])
