"""Feature maps of all families of the three sources, built small and without weights."""

import keras
import numpy as np
import pytest

from keras_cvx.backbones import FeatureExtractor, measure_strides
from tests.backbones.conftest import APPLICATIONS, run

pytestmark = [
    # Raised inside KerasCV and KerasHub, or by Keras on their behalf.
    pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match:UserWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]

IMAGE = (64, 64, 3)
PYRAMID = {1, 2, 4, 8, 16, 32}
MOBILE = {
    "stackwise_expansion": [1, 4, 4, 6],
    "stackwise_filters": [8, 8, 16, 16],
    "stackwise_kernel_size": [3, 3, 5, 5],
    "stackwise_stride": [2, 2, 2, 2],
    "stackwise_se_ratio": [0.25, None, 0.25, 0.25],
    "stackwise_activation": ["relu", "relu", "hard_swish", "hard_swish"],
}
EFFICIENT = {
    "stackwise_kernel_sizes": [3, 3, 5, 5, 3],
    "stackwise_num_repeats": [1, 1, 1, 1, 1],
    "stackwise_input_filters": [8, 8, 8, 16, 16],
    "stackwise_output_filters": [8, 8, 16, 16, 16],
    "stackwise_expansion_ratios": [1, 2, 2, 2, 2],
    "stackwise_strides": [1, 2, 2, 2, 2],
}
SCALED = {"width_coefficient": 1.0, "depth_coefficient": 1.0}
RESIDUAL = {
    "stackwise_filters": [8, 8, 8, 8],
    "stackwise_blocks": [1, 1, 1, 1],
    "stackwise_strides": [1, 2, 2, 2],
}

# Name of the class, its options, and the strides that it must have.
KERAS_CV = {
    "CSPDarkNetBackbone": (
        {"stackwise_channels": [8, 8, 8, 8], "stackwise_depth": [1, 1, 1, 1]}, PYRAMID,
    ),
    "DenseNetBackbone": ({"stackwise_num_repeats": [1, 1, 1, 1], "growth_rate": 8}, PYRAMID),
    "EfficientNetLiteBackbone": (
        {**EFFICIENT, **SCALED, "stackwise_input_filters": [32, 8, 8, 16, 16]}, PYRAMID,
    ),
    "EfficientNetV1Backbone": (
        {**EFFICIENT, **SCALED, "stackwise_squeeze_and_excite_ratios": [0.25] * 5}, PYRAMID,
    ),
    "EfficientNetV2Backbone": (
        {
            **EFFICIENT,
            **SCALED,
            "stackwise_squeeze_and_excite_ratios": [0.0, 0.0, 0.25, 0.25, 0.25],
            "stackwise_conv_types": ["fused", "fused", "unfused", "unfused", "unfused"],
        },
        PYRAMID,
    ),
    "MiTBackbone": ({"depths": [1, 1, 1, 1], "embedding_dims": [8, 16, 40, 64]}, {1, 4, 8, 16, 32}),
    "MobileNetV3Backbone": (MOBILE, PYRAMID),
    "ResNetBackbone": (RESIDUAL, PYRAMID),
    "ResNetV2Backbone": ({**RESIDUAL, "stackwise_blocks": [2, 2, 2, 2]}, PYRAMID),
    "VGG16Backbone": ({"include_top": False}, PYRAMID),
    "ViTDetBackbone": (
        {"patch_size": 16, "embed_dim": 8, "depth": 2, "mlp_dim": 8, "num_heads": 2,
         "out_chans": 8, "window_size": 2, "global_attention_indices": [1]},
        {1, 16},
    ),
    "YOLOV8Backbone": (
        {"stackwise_channels": [8, 8, 8, 8], "stackwise_depth": [1, 1, 1, 1]}, PYRAMID,
    ),
}  # fmt: skip

VISION = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "image_shape": IMAGE}
KERAS_HUB = {
    "CLIPVisionEncoder": ({**VISION, "patch_size": 16, "intermediate_dim": 8}, {1, 16}),
    "CSPNetBackbone": (
        {"stem_filters": 8, "stem_kernel_size": 3, "stem_strides": 1,
         "stackwise_depth": [1, 1, 1, 1, 1], "stackwise_strides": [2] * 5,
         "stackwise_num_filters": [16] * 5, "block_type": "dark_block", "stage_type": "dark",
         "bottle_ratio": [0.5]},
        PYRAMID,
    ),
    "DeiTBackbone": ({**VISION, "patch_size": 16, "intermediate_dim": 8}, {1, 16}),
    "DenseNetBackbone": ({"stackwise_num_repeats": [1, 1, 1, 1], "growth_rate": 8}, PYRAMID),
    "DINOV2Backbone": (
        {**VISION, "patch_size": 8, "intermediate_dim": 8, "num_register_tokens": 4,
         "position_embedding_shape": IMAGE},
        {1, 8},
    ),
    "DINOV3Backbone": ({**VISION, "patch_size": 8, "intermediate_dim": 8}, {1, 8}),
    "EfficientNetBackbone": (
        {**EFFICIENT, "stackwise_width_coefficients": [1.0] * 5,
         "stackwise_depth_coefficients": [1.0] * 5,
         "stackwise_squeeze_and_excite_ratios": [0.0, 0.0, 0.25, 0.25, 0.25],
         "stackwise_block_types": ["fused", "v1", "v1", "v1", "v1"],
         "stackwise_force_input_filters": [0] * 5, "stackwise_nores_option": [False] * 5},
        PYRAMID,
    ),
    "HGNetV2Backbone": (
        {"depths": [1, 1, 1, 1], "embedding_size": 8, "hidden_sizes": [8, 8, 8, 8],
         "stem_channels": [3, 8, 8], "hidden_act": "relu", "use_learnable_affine_block": False,
         "stackwise_stage_filters": [(8, 8, 8, 1, 1, 3)] * 4,
         "apply_downsample": [False, True, True, True],
         "use_lightweight_conv_block": [False] * 4, "image_shape": IMAGE},
        {1, 4, 8, 16, 32},
    ),
    "MiTBackbone": (
        {"layerwise_depths": [1, 1, 1, 1], "num_layers": 4, "layerwise_num_heads": [1, 1, 2, 2],
         "layerwise_sr_ratios": [8, 4, 2, 1], "max_drop_path_rate": 0.1,
         "layerwise_patch_sizes": [7, 3, 3, 3], "layerwise_strides": [4, 2, 2, 2],
         "hidden_dims": [8, 8, 8, 8], "image_shape": IMAGE},
        {1, 4, 8, 16, 32},
    ),
    "MobileNetBackbone": (
        {"stackwise_expansion": [[8], [8], [8]], "stackwise_num_blocks": [1, 1, 1],
         "stackwise_num_filters": [[8], [8], [8]], "stackwise_kernel_size": [[3], [5], [5]],
         "stackwise_num_strides": [[2], [2], [2]], "stackwise_se_ratio": [[None], [0.25], [0.25]],
         "stackwise_activation": [["relu"], ["hard_swish"], ["hard_swish"]],
         "stackwise_padding": [[1], [2], [2]], "output_num_filters": 8, "depthwise_filters": 8,
         "depthwise_stride": 2, "depthwise_residual": False, "last_layer_filter": 8,
         "squeeze_and_excite": 0.5},
        PYRAMID,
    ),
    "MobileNetV5Backbone": (
        {"stackwise_block_types": [["er"], ["uir"]], "stackwise_num_blocks": [1, 1],
         "stackwise_num_filters": [[8], [16]], "stackwise_strides": [[2], [2]],
         "stackwise_act_layers": [["relu"], ["relu"]], "stackwise_exp_ratios": [[2.0], [2.0]],
         "stackwise_se_ratios": [[0.0], [0.0]], "stackwise_dw_kernel_sizes": [[0], [5]],
         "stackwise_dw_start_kernel_sizes": [[0], [0]], "stackwise_dw_end_kernel_sizes": [[0], [0]],
         "stackwise_exp_kernel_sizes": [[3], [0]], "stackwise_pw_kernel_sizes": [[1], [0]],
         "stackwise_num_heads": [[0], [0]], "stackwise_key_dims": [[0], [0]],
         "stackwise_value_dims": [[0], [0]], "stackwise_kv_strides": [[0], [0]],
         "stackwise_use_cpe": [[False], [False]], "num_features": 16, "image_shape": IMAGE},
        {1, 2, 4, 8},
    ),
    "ResNetBackbone": (
        {"input_conv_filters": [8], "input_conv_kernel_sizes": [7],
         "stackwise_num_filters": [64, 64, 64, 64], "stackwise_num_blocks": [1, 1, 1, 1],
         "stackwise_num_strides": [1, 2, 2, 2], "block_type": "bottleneck_block"},
        PYRAMID,
    ),
    "SwinTransformerBackbone": (
        {"image_shape": IMAGE, "embed_dim": 8, "depths": (1, 1, 1), "num_heads": (1, 2, 2),
         "window_size": 4},
        {1, 4, 8, 16},
    ),
    "VGGBackbone": (
        {"stackwise_num_repeats": [1, 1, 1, 1, 1], "stackwise_num_filters": [8] * 5}, PYRAMID,
    ),
    "ViTBackbone": ({**VISION, "patch_size": 16, "mlp_dim": 8}, {1, 16}),
    "ViTDetBackbone": (
        {"hidden_size": 8, "num_layers": 2, "intermediate_dim": 8, "num_heads": 2,
         "global_attention_layer_indices": [1], "image_shape": IMAGE, "num_output_channels": 8,
         "window_size": 2},
        {1, 16},
    ),
    "XceptionBackbone": (
        {"stackwise_conv_filters": [[8, 8], [16, 16], [24, 24]],
         "stackwise_pooling": [False, True, False]},
        {1, 2, 4},
    ),
}  # fmt: skip
SOURCES = {
    **{("keras_cv", name): given for name, given in KERAS_CV.items()},
    **{("keras_hub", name): given for name, given in KERAS_HUB.items()},
}


def build(source, name):
    module = pytest.importorskip(source)
    options, strides = SOURCES[source, name]
    if source == "keras_cv":
        options = {**options, "include_rescaling": True, "input_shape": IMAGE}
    if not hasattr(module.models, name):
        pytest.skip(f"this version has no {name}")
    return getattr(module.models, name)(**options), strides


def image_of(model):
    size = [side or 64 for side in model.inputs[0].shape[1:]]
    return np.random.default_rng(0).uniform(0, 1, (2, *size)).astype("float32")


def assert_taps(model, strides):
    """That the model has these strides and those of its pyramid; the extractor and the tensors."""
    found = measure_strides(model)
    assert strides <= set(found)
    for name, tensor in pyramid(model).items():
        if len(tensor.shape) == 4 and tensor.shape[1]:
            assert model.inputs[0].shape[1] // tensor.shape[1] in found, name
    extractor = FeatureExtractor(model, sorted(strides))
    height = image_of(model).shape[1]
    for stride, tensor in zip(extractor.strides, extractor.outputs, strict=True):
        assert tensor.shape[1] is None or abs(tensor.shape[1] - height / stride) < 5, stride
    return extractor, [found[stride] for stride in extractor.strides]


def pyramid(model):
    """The feature maps that KerasHub's and KerasCV's models name, where they do."""
    try:
        layers = model.pyramid_level_inputs
        return {key: model.get_layer(name).output for key, name in layers.items()}
    except (AttributeError, NotImplementedError):
        return getattr(model, "pyramid_outputs", {})


@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications(name, by_name):
    assert_taps(by_name(name), {4, 8, 16} if name == "ConvNeXtTiny" else {2, 4, 8, 16})


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("keras_cv", "YOLOV8Backbone"),
        ("keras_hub", "VGGBackbone"),
        ("keras_hub", "DeiTBackbone"),
    ],
)
def test_saved_and_loaded(source, name, tmp_path):
    """Inside a model with its normalisation, as one would build it by hand."""
    model, strides = build(source, name)
    inputs = keras.Input(IMAGE)
    nested = keras.Model(inputs, model(keras.layers.Rescaling(1 / 255)(inputs)))
    extractor = FeatureExtractor(nested, sorted(strides))
    extractor.save(tmp_path / "taps.keras")
    loaded = keras.saving.load_model(tmp_path / "taps.keras")
    x = image_of(nested)
    for got, expected in zip(run(loaded, x), run(extractor, x), strict=True):
        np.testing.assert_array_equal(got, expected)


# Where it costs much, as JAX compiles each: one of each source, and one of tokens.
RUN_EVERYWHERE = {"YOLOV8Backbone", "VGGBackbone", "DeiTBackbone"}


@pytest.mark.parametrize(("source", "name"), SOURCES)
def test_other_sources(source, name):
    model, strides = build(source, name)
    extractor, tensors = assert_taps(model, strides)
    if keras.backend.backend() == "torch" or name in RUN_EVERYWHERE:
        x = image_of(model)
        reference = keras.Model(model.inputs[0], tensors)
        for got, expected in zip(run(extractor, x), run(reference, x), strict=True):
            np.testing.assert_array_equal(got, expected)
