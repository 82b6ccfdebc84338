import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.interop import from_supervision, to_supervision
from keras_cvx.metrics import MeanAveragePrecision
from keras_cvx.ops import convert
from keras_cvx.testing import labelled_boxes

sv = pytest.importorskip("supervision")


def with_confidence(truth, confidence):
    """Detections that are sorted and padded as a detector's are."""
    order = np.argsort(np.where(truth["labels"] < 0, 1, -confidence), axis=-1, kind="stable")
    take = [np.take_along_axis(x, order, 1) for x in (truth["labels"], confidence)]
    labels, confidence = take
    found = labels >= 0
    boxes = np.take_along_axis(truth["boxes"], order[..., None], 1)
    return {
        "boxes": np.where(found[..., None], boxes, np.float32(-1)),
        "confidence": np.where(found, confidence, np.float32(-1)),
        "labels": labels,
        "num_detections": found.sum(-1).astype("int32"),
    }


CONFIDENCE = st.lists(st.floats(0.0078125, 1, width=32), min_size=8, max_size=8).map(
    lambda values: np.array(values, "float32").reshape(2, 4)
)


@settings(deadline=None, max_examples=50)
@given(truth=labelled_boxes(2, 4), confidence=CONFIDENCE)
def test_round_trip(truth, confidence):
    detections = with_confidence(truth, confidence)
    back = from_supervision(to_supervision(detections), max_detections=4)
    for name, expected in detections.items():
        assert back[name].dtype == expected.dtype
        np.testing.assert_array_equal(back[name], expected)


BOXES = np.float32([[[2, 1, 8, 6], [0, 0, 4, 4], [-1] * 4], [[-1] * 4] * 3])
LABELS = np.int32([[2, 0, -1], [-1] * 3])


def test_what_supervision_gets():
    relative = ops.convert_to_numpy(convert(BOXES, "xyxy", "rel_center_xywh", height=10, width=20))
    detections = {
        "boxes": ops.convert_to_tensor(relative),
        "confidence": ops.convert_to_tensor(np.float32([[0.75, 0.5, -1], [-1] * 3])),
        "labels": ops.convert_to_tensor(LABELS),
    }
    first, second = to_supervision(
        detections,
        bounding_box_format="rel_center_xywh",
        height=10,
        width=20,
        class_names=["ant", "bee", "cat"],
    )
    assert isinstance(first, sv.Detections)
    np.testing.assert_allclose(first.xyxy, [[2, 1, 8, 6], [0, 0, 4, 4]], atol=1e-5)
    assert first.confidence.tolist() == [0.75, 0.5]
    assert first.class_id.tolist() == [2, 0]
    assert first["class_name"].tolist() == ["cat", "ant"]
    assert len(second) == 0
    # Its own functions take it.
    assert first.with_nms(0.5).class_id.tolist() == [2, 0]
    assert first[first.confidence > 0.6].class_id.tolist() == [2]


def test_ground_truth_has_no_confidence():
    (first, _) = to_supervision({"boxes": BOXES, "labels": LABELS})
    assert first.confidence is None
    assert from_supervision([first])["confidence"].tolist() == [[1.0, 1.0]]


def test_into_the_metric():
    detections = [
        sv.Detections(
            xyxy=np.array([[0, 0, 4, 4], [2, 1, 8, 6]], float),
            confidence=np.array([0.5, 0.75]),
            class_id=np.array([0, 2]),
        ),
        sv.Detections.empty(),
    ]
    found = from_supervision(detections)
    assert found["labels"].tolist() == [[2, 0], [-1, -1]]
    assert found["num_detections"].tolist() == [2, 0]
    metric = MeanAveragePrecision(3, bounding_box_format="xyxy")
    metric.update_state({"boxes": BOXES, "labels": LABELS}, found)
    assert float(metric.result()["AP"]) == pytest.approx(1.0)


def test_the_least_confident_are_left_out():
    many = sv.Detections(
        xyxy=np.array([[0, 0, i + 1, 1] for i in range(5)], float),
        confidence=np.array([0.1, 0.5, 0.3, 0.9, 0.7]),
        class_id=np.arange(5),
    )
    assert from_supervision([many], max_detections=3)["labels"].tolist() == [[3, 4, 1]]
    with pytest.raises(ValueError, match="`max_detections`"):
        from_supervision([many], max_detections=0)


def test_nothing():
    assert to_supervision({"boxes": np.zeros((0, 3, 4)), "labels": np.zeros((0, 3))}) == []
    assert from_supervision([])["boxes"].shape == (0, 0, 4)
    assert from_supervision([sv.Detections.empty()])["boxes"].shape == (1, 0, 4)


def test_errors(monkeypatch):
    with pytest.raises(ValueError, match=r"must have classes.*detections\[0\] of 1 boxes"):
        from_supervision([sv.Detections(xyxy=np.array([[0.0, 0, 1, 1]]))])
    with pytest.raises(ValueError, match="`height` and `width`"):
        to_supervision({"boxes": BOXES, "labels": LABELS}, bounding_box_format="rel_xyxy")
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        to_supervision({"boxes": BOXES, "labels": LABELS})


def test_names_in_a_dictionary():
    truth = {"boxes": BOXES, "labels": LABELS}
    first, _ = to_supervision(truth, class_names={2: "cat", 0: "ant"})
    assert first["class_name"].tolist() == ["cat", "ant"]


def test_detections_of_one_image():
    with pytest.raises(ValueError, match=r"Received: Detections. .* pass `\[detections\]`"):
        from_supervision(to_supervision({"boxes": BOXES, "labels": LABELS})[0])
