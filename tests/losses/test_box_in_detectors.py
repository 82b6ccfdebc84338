"""The box losses in the detectors of KerasCV and KerasHub: one training step of each.

KerasCV's and KerasHub's own parts, with their anchors, say what the box loss must be.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx.losses import CIoULoss, DIoULoss, GIoULoss, IoULoss
from keras_cvx.ops import elementwise_iou

SIZE = 64
IMAGES = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype("float32")
BOXES = np.float32([[[4, 6, 40, 50], [-1] * 4], [[10, 8, 30, 32], [30, 34, 62, 60]]])
LABELS = np.float32([[1, -1], [0, 2]])
# The losses' formulas are tested beside them; here it is what they are given.
LOSSES = {"iou": IoULoss, "giou": GIoULoss, "diou": DIoULoss, "ciou": CIoULoss}

pytestmark = [
    # KerasCV's RetinaNet is built on a dictionary of images, and takes an array of them.
    pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match:UserWarning"),
    # PyTorch's tensors and NumPy 2, inside Keras.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]


def backbone():
    """Eight channels at strides 2 to 32, with the names by which the libraries find them."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x, levels = layers.Rescaling(1 / 255)(inputs), {}
    for level in range(1, 6):
        x = layers.Conv2D(
            8, 3, strides=2, padding="same", activation="relu", name=f"level_{level}"
        )(x)
        levels[f"P{level}"] = x
    model = keras.Model(inputs, x)
    model.pyramid_level_inputs = {name: f"level_{name[1]}" for name in levels}
    model.pyramid_outputs = levels
    return model


def handed_over(model, ground_truth):
    """What the detector gives its box loss in training: truth, prediction, weights."""

    def keep(self, **kwargs):
        kept = []
        for name in ("y", "y_pred", "sample_weight"):
            kept += [x for key, x in kwargs[name].items() if key in ("box", "bbox_regression")]
        return kept

    def compute():
        x = ops.convert_to_tensor(IMAGES)
        y = {key: ops.convert_to_tensor(value) for key, value in ground_truth.items()}
        # Nothing is to change before the step itself: neither statistics nor counters.
        with keras.StatelessScope():
            return model.compute_loss(x=x, y=y, y_pred=model(x, training=True), sample_weight=None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "compute_loss", keep)
        if keras.backend.backend() == "jax":
            import jax

            compute = jax.jit(compute)  # else every operation is compiled on its own
        return [ops.convert_to_numpy(x) for x in compute()]


def box_loss_of_step(model, head, ground_truth):
    """The box loss that a training step reports; it has changed the weights of the boxes' head."""
    before = [ops.convert_to_numpy(w) for w in head]
    history = model.fit(IMAGES, ground_truth, batch_size=2, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(ops.convert_to_numpy(w)).all() for w in model.trainable_variables)
    # The other loss does not reach these weights.
    assert any(
        not np.array_equal(old, ops.convert_to_numpy(w))
        for old, w in zip(before, head, strict=True)
    )
    (name,) = {"box_loss", "bbox_regression_loss"} & set(history)
    return history[name][0]


def test_retinanet_of_keras_cv():
    keras_cv = pytest.importorskip("keras_cv")
    # Nine anchors a place. Heads of one convolution: the library's own have four of 256 channels.
    box_head, classification_head = (
        layers.Conv2D(9 * size, 3, padding="same", bias_initializer=bias)
        for size, bias in ((4, "zeros"), (3, keras.initializers.Constant(-4.0)))
    )
    model = keras_cv.models.RetinaNet(
        backbone(),
        num_classes=3,
        bounding_box_format="xyxy",
        box_head=box_head,
        classification_head=classification_head,
    )
    ground_truth = {"boxes": BOXES, "classes": LABELS}
    with pytest.raises(ValueError, match="Wrong `bounding_box_format`"):
        model.compile(box_loss=GIoULoss("xywh"), classification_loss="focal")
    variance = (0.1, 0.1, 0.2, 0.2)
    loss = GIoULoss("xyxy", box_variance=variance, reduction="sum")
    model.compile(box_loss=loss, classification_loss="focal", optimizer=keras.optimizers.SGD(0.01))
    seen = handed_over(model, ground_truth)
    reported = box_loss_of_step(model, model.box_head.trainable_variables, ground_truth)
    anchors = model.anchor_generator(image_shape=(SIZE, SIZE, 3))
    anchors = ops.concatenate(list(anchors.values()), axis=0)
    check_offsets(reported, seen, anchors, "center_yxhw", variance)


def test_retinanet_of_keras_hub():
    keras_hub = pytest.importorskip("keras_hub")
    features = keras_hub.models.RetinaNetBackbone(
        backbone(), min_level=3, max_level=5, use_p5=False, image_shape=(SIZE, SIZE, 3)
    )
    model = keras_hub.models.RetinaNetObjectDetector(
        features, num_classes=3, bounding_box_format="xyxy", pre_logits_num_conv_layers=1
    )
    loss = GIoULoss(box_variance=(1, 1, 1, 1), reduction="sum")
    model.compile(keras.optimizers.SGD(0.01), box_loss=loss)
    ground_truth = {"boxes": BOXES, "labels": LABELS}
    seen = handed_over(model, ground_truth)
    reported = box_loss_of_step(model, model.box_head.trainable_variables, ground_truth)
    anchors = ops.concatenate(list(model.anchor_generator(IMAGES).values()), axis=0)
    check_offsets(reported, seen, anchors, "center_xywh", (1.0, 1.0, 1.0, 1.0))


def one_by_one(truth, found, variant):
    return 1.0 - ops.convert_to_numpy(elementwise_iou(truth, found, variant=variant))


def check_offsets(reported, seen, anchors, encoding, variance):
    """The loss is that of the boxes which the offsets make of the detector's own anchors."""
    truth, found, weights = seen
    assert (weights > 0).any()
    boxes = [
        ops.convert_to_numpy(
            keras.utils.bounding_boxes.decode_deltas_to_boxes(
                anchors,
                ops.convert_to_tensor(offsets),
                anchor_format="xyxy",
                box_format="xyxy",
                encoded_format=encoding,
                variance=list(variance),
                image_shape=(SIZE, SIZE, 3),
            )
        )[weights > 0]
        for offsets in (truth, found)
    ]
    # The encoder's targets are the ground truth, but for its rounding.
    gap = np.abs(boxes[0][:, None] - BOXES.reshape(-1, 4)).max(-1).min(-1)
    assert gap.max() < 1e-2
    expected = (one_by_one(*boxes, "giou") * weights[weights > 0]).sum()
    assert reported == pytest.approx(expected, rel=1e-4)
    for variant, loss in LOSSES.items():
        got = loss(box_variance=variance, reduction="sum")(truth, found, weights)
        assert np.isfinite(float(got))
        if variant in ("iou", "giou"):
            expected = (one_by_one(*boxes, variant) * weights[weights > 0]).sum()
            assert float(got) == pytest.approx(expected, rel=1e-4)


def test_yolov8_of_keras_cv():
    keras_cv = pytest.importorskip("keras_cv")
    model = keras_cv.models.YOLOV8Detector(
        backbone(), num_classes=3, bounding_box_format="xywh", fpn_depth=1
    )
    sides = np.concatenate([BOXES[..., :2], BOXES[..., 2:] - BOXES[..., :2]], -1)
    boxes = np.where(LABELS[..., None] < 0, np.float32(-1), sides)
    ground_truth = {"boxes": boxes, "classes": LABELS}
    model.compile(
        box_loss=CIoULoss(reduction="sum"),
        classification_loss="binary_crossentropy",
        optimizer=keras.optimizers.SGD(0.01),
    )
    truth, found, weights = handed_over(model, ground_truth)
    head = [w for w in model.trainable_variables if "box" in w.path]
    reported = box_loss_of_step(model, head, ground_truth)
    weights = weights[..., 0]
    taken = weights > 0
    assert taken.any()
    # In sides of the cells, which are 8, 16 or 32 pixels.
    corners = BOXES.reshape(-1, 4)
    gap = [np.abs(truth[taken][:, None] * stride - corners).max(-1) for stride in (8, 16, 32)]
    assert np.min(gap, axis=(0, 2)).max() < 1e-3
    for variant, loss in LOSSES.items():
        got = float(loss(reduction="sum")(truth, found, weights[..., None]))
        expected = (one_by_one(truth[taken], found[taken], variant) * weights[taken]).sum()
        assert got == pytest.approx(expected, rel=1e-4)
    assert reported == pytest.approx(got, rel=1e-3)
