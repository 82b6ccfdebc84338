import copy

import numpy as np
import pytest

from keras_cvx.metrics import COCOEvaluation

CLASSES = 3


@pytest.fixture
def scene():
    """Twelve images of at most eight objects and fifteen detections, some without any."""
    rng = np.random.default_rng(0)
    corner, side = rng.uniform(0, 60, (12, 8, 2)), rng.uniform(1, 120, (12, 8, 2))
    truth, labels = np.concatenate([corner, side], -1), rng.integers(-1, CLASSES, (12, 8))
    labels[3] = labels[7] = -1
    copies = rng.integers(0, 8, (12, 15))
    found = np.take_along_axis(truth, copies[..., None], 1) + rng.uniform(-5, 5, (12, 15, 4))
    return (
        {
            "boxes": truth,
            "labels": labels,
            "areas": side.prod(-1) * 0.7,
            "is_crowd": rng.uniform(size=labels.shape) < 0.2,
            "ignored": rng.uniform(size=labels.shape) < 0.1,
            "image_ids": rng.permutation(7 * np.arange(12)),
        },
        {
            "boxes": found,
            "labels": np.take_along_axis(labels, copies, 1),
            "confidence": rng.integers(0, 9, copies.shape) / 9,
        },
    )


def taken(source, images):
    return {key: value[images] for key, value in source.items()}


def evaluated(*batches):
    evaluation = COCOEvaluation(CLASSES, bounding_box_format="xywh")
    for truth, found in batches:
        evaluation.update_state(truth, found)
    return evaluation


def test_scene(scene):
    assert 0.05 < min(evaluated(scene).result().values()) < 0.9


def test_merging_leaves_the_other_as_it_was(scene):
    other, evaluation = evaluated(scene), evaluated()
    expected = other.result()
    evaluation.merge_state([other])
    evaluation.reset_state()
    assert evaluation.result()["AP"] == -1
    assert other.result() == expected


def test_updates_after_a_result_count(scene):
    evaluation = evaluated([taken(side, slice(0, 5)) for side in scene])
    half = evaluation.result()
    evaluation.update_state(*(taken(side, slice(5, None)) for side in scene))
    assert evaluation.result() == evaluated(scene).result() != half


def test_tensors_of_any_library(library, scene):
    tensors = [{key: library(value.astype("float32" if value.dtype == float else value.dtype))
                for key, value in side.items()} for side in scene]  # fmt: skip
    arrays = [{key: value.astype("float32") if value.dtype == float else value
               for key, value in side.items()} for side in scene]  # fmt: skip
    assert evaluated(tensors).result() == evaluated(arrays).result()


def test_lists_of_arrays(scene):
    truth, found = scene
    lists = []
    for side in (truth, found):
        rows = [np.flatnonzero(labels >= 0) for labels in side["labels"]]
        lists.append({
            key: value if key == "image_ids" else [v[r] for v, r in zip(value, rows, strict=True)]
            for key, value in side.items()
        })  # fmt: skip
    assert min(map(len, lists[0]["labels"])) == 0
    assert evaluated(lists).result() == evaluated(scene).result()
    nested = [
        {key: [np.asarray(v).tolist() for v in value] for key, value in side.items()}
        for side in lists
    ]
    assert evaluated(nested).result() == evaluated(scene).result()


def test_ragged_tensors(scene):
    tf = pytest.importorskip("tensorflow")
    ragged = []
    for side in scene:
        kept = side["labels"] >= 0
        rows = {key: value[kept] for key, value in side.items() if key != "image_ids"}
        ragged.append({
            key: tf.RaggedTensor.from_row_lengths(value, kept.sum(-1))
            for key, value in rows.items()
        })  # fmt: skip
    ragged[0]["image_ids"] = tf.constant(scene[0]["image_ids"])
    assert evaluated(ragged).result() == evaluated(scene).result()


def test_arrays_may_be_used_again(scene):
    expected = evaluated(scene).result()
    evaluation = evaluated(scene)
    for side in scene:
        for array in side.values():
            array[...] = 1
    assert evaluation.result() == expected


def test_padding_may_hold_anything(scene):
    expected = evaluated(scene).result()
    for side in scene:
        side["boxes"][side["labels"] < 0] = np.nan
    scene[0]["areas"][scene[0]["labels"] < 0] = np.inf
    scene[1]["confidence"][scene[1]["labels"] < 0] = np.nan
    assert evaluated(scene).result() == expected


def change(side, key, value, at=(1, 2)):
    def to(scene):
        scene[side]["labels"][at] = 1
        scene[side][key] = scene[side][key].astype(float)
        scene[side][key][at] = value

    return to


def shorten(side, key):
    def to(scene):
        scene[side][key] = scene[side][key][:, :-1]

    return to


@pytest.mark.parametrize(
    ("to_worse", "message"),
    [
        (change(0, "labels", 3), r"`y_true\['labels'\]` must be integers from 0 to 2"),
        (change(1, "labels", 9), "Received: 9.0 in row 2 of image 1, and 0 more such rows"),
        (change(1, "labels", -2), r"`y_pred\['labels'\]` must be integers from 0 to 2"),
        (change(1, "labels", 0.5), r"`y_pred\['labels'\]` must be integers"),
        (change(1, "labels", np.nan), r"`y_pred\['labels'\]` must be integers"),
        (change(1, "confidence", np.nan), r"`y_pred\['confidence'\]` must be numbers, not NaN"),
        (change(0, "boxes", np.inf), r"`y_true\['boxes'\]` must be finite"),
        (change(1, "boxes", np.nan), r"`y_pred\['boxes'\]` must be finite"),
        (change(0, "areas", np.nan), r"`y_true\['areas'\]` must be finite"),
        (change(0, "is_crowd", 2), r"`y_true\['is_crowd'\]` must be true or false"),
        (shorten(0, "boxes"), "in image 0 8 rows of 'labels' and 7 of 'boxes'"),
        (shorten(1, "confidence"), "14 of 'confidence'"),
        (lambda scene: scene[1].pop("confidence"), r"`y_pred` must be a dictionary, and must have"),
        (lambda scene: scene[0].update(boxes=np.zeros((12, 8, 5))), r"must be \(B, N, 4\)"),
        (lambda scene: scene[0].update(boxes=[np.zeros((8, 5))] * 12), r"must be \(B, N, 4\)"),
        (lambda scene: scene[0].update(areas=scene[0]["areas"][:3]), "3 of 'areas'"),
        (lambda scene: scene[1].update(taken(scene[1], slice(3))), "12 images .* 3 in `y_pred`"),
        (lambda scene: scene[0].update(image_ids=[3] * 12), r"each image once .* \[3"),
        (lambda scene: scene[0].update(image_ids=[3]), r"must be \(12,\) integers"),
    ],
)  # fmt: skip
def test_bad_input_changes_nothing(scene, to_worse, message):
    before = [taken(side, [0, 1, 2]) for side in scene]
    before[0]["image_ids"] = before[0]["image_ids"] + 1000
    evaluation = evaluated(before)
    to_worse(scene)
    with pytest.raises(ValueError, match=message):
        evaluation.update_state(*scene)
    assert evaluation.result() == evaluated(before).result()


def test_packed_ground_truth_is_refused(scene):
    with pytest.raises(ValueError, match="`y_true` must be a dictionary"):
        evaluated((np.zeros((12, 3, 5)), scene[1]))


def test_images_seen_before(scene):
    evaluation = evaluated(scene)
    with pytest.raises(ValueError, match="each image once"):
        evaluation.update_state(*scene)
    with pytest.raises(ValueError, match="each image once"):
        evaluation.merge_state([evaluated(scene)])
    del scene[0]["image_ids"]
    with pytest.raises(ValueError, match="for every image or for none"):
        evaluation.update_state(*scene)


@pytest.mark.parametrize(
    "other", [COCOEvaluation(CLASSES), COCOEvaluation(4, bounding_box_format="xywh"), 3]
)
def test_merging_with_another_kind(other):
    with pytest.raises(ValueError, match="`others` must be evaluations of the same class and arg"):
        evaluated().merge_state([other])


def test_a_refused_merge_changes_nothing(scene):
    parts = [[taken(side, part) for side in scene] for part in (slice(0, 4), slice(4, 8))]
    evaluation, other = (evaluated(part) for part in parts)
    expected = evaluation.result()
    for wrong in (COCOEvaluation(CLASSES), evaluated(parts[1])):
        with pytest.raises(ValueError, match=r"`others` must be|each image once"):
            evaluation.merge_state([other, wrong])
        assert evaluation.result() == expected
    one_by_one = copy.deepcopy(evaluation)
    one_by_one.merge_state(other)
    evaluation.merge_state([other])
    assert evaluation.result() == one_by_one.result() != expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tensors_of_torch_that_take_part_in_a_graph(dtype):
    torch = pytest.importorskip("torch")
    boxes = torch.tensor([[[0.0, 0.0, 8.0, 8.0]]], dtype=getattr(torch, dtype), requires_grad=True)
    found = {"boxes": boxes * 1, "labels": torch.tensor([[1]]), "confidence": boxes[..., 2] / 16}
    evaluation = evaluated(({"boxes": boxes, "labels": torch.tensor([[1]])}, found))
    assert evaluation.result()["AP"] == pytest.approx(1)


def test_no_images_with_ids(scene):
    nothing = {"boxes": [], "labels": [], "image_ids": []}
    evaluation = evaluated((nothing, {"boxes": [], "labels": [], "confidence": []}), scene)
    assert evaluation.result() == evaluated(scene).result()
