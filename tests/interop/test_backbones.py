"""Backbones of KerasCV and KerasHub under our task models, trained and predicted with."""

import keras
import numpy as np
import pytest

import keras_cvx as cvx

SIZE, CLASSES = 64, 10

pytestmark = [
    # Raised inside KerasCV and KerasHub, or by Keras on their behalf.
    pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match:UserWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]


def of_keras_cv():
    return pytest.importorskip("keras_cv").models.CSPDarkNetBackbone(
        stackwise_channels=[8, 8, 8, 8],
        stackwise_depth=[1, 1, 1, 1],
        include_rescaling=True,
        input_shape=(SIZE, SIZE, 3),
    )


def of_keras_hub():
    return pytest.importorskip("keras_hub").models.MiTBackbone(
        num_layers=4,
        hidden_dims=[8, 8, 8, 8],
        layerwise_depths=[1, 1, 1, 1],
        layerwise_num_heads=[1, 1, 2, 2],
        layerwise_sr_ratios=[8, 4, 2, 1],
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        max_drop_path_rate=0.0,
        image_shape=(SIZE, SIZE, 3),
    )


@pytest.fixture(scope="module")
def scenes():
    return cvx.datasets.digit_scenes(4, size=SIZE, seed=0)


@pytest.mark.parametrize("make", [of_keras_cv, of_keras_hub])
def test_under_a_detector(make, scenes):
    detector = cvx.models.GridDetector(make(), CLASSES, strides=[16], bounding_box_format="xyxy")
    before = trained(detector, scenes, scenes["bounding_boxes"])
    found = detector.predict(scenes["images"], verbose=0)
    metric = cvx.metrics.MeanAveragePrecision(CLASSES, bounding_box_format="xyxy")
    metric.update_state(scenes["bounding_boxes"], found)
    assert 0 <= float(metric.result()["AP"]) <= 1
    assert_backbone_changed(detector, before)


@pytest.mark.parametrize("make", [of_keras_cv, of_keras_hub])
def test_under_a_segmenter(make, scenes):
    segmenter = cvx.models.Segmenter(make(), CLASSES + 1, decoder="fcn16s")
    before = trained(segmenter, scenes, scenes["segmentation_masks"])
    found = segmenter.predict(scenes["images"], verbose=0)["masks"]
    assert set(np.unique(found)) <= set(range(CLASSES + 1))
    assert_backbone_changed(segmenter, before)


@pytest.mark.parametrize("make", [of_keras_cv, of_keras_hub])
def test_under_a_localizer(make, scenes):
    localizer = cvx.models.Localizer(make(), CLASSES, bounding_box_format="xyxy")
    boxes = scenes["bounding_boxes"]
    truth = {"boxes": boxes["boxes"][:, 0], "labels": boxes["labels"][:, 0]}
    before = trained(localizer, scenes, truth)
    assert set(localizer.predict(scenes["images"], verbose=0)) >= {"boxes", "labels"}
    assert_backbone_changed(localizer, before)


def trained(model, scenes, truth):
    """The backbone's weights from before a training step."""
    model.compile(keras.optimizers.SGD(0.01))
    before = model.backbone.get_weights()
    losses = model.fit(scenes["images"], truth, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    return before


def assert_backbone_changed(model, before):
    after = model.backbone.get_weights()
    changed = [(a != b).any() for a, b in zip(before, after, strict=True)]
    # Every weight that the used levels depend on, statistics of normalization among them.
    assert np.mean(changed) > 0.5
    assert all(np.isfinite(weight).all() for weight in after)
