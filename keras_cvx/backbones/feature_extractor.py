"""Feature maps of a model by their stride, which is measured and not guessed from names."""

import math

import keras

from keras_cvx import plugins
from keras_cvx.ops.arguments import checked_data_format


@plugins.register("FeatureExtractor", kind="model")
class FeatureExtractor(keras.Model):
    """A functional model that returns a backbone's feature maps at the strides asked for.

    Of the tensors of one stride the last one is tapped, in the order of the graph: the most
    processed one. Weights are shared with the backbone, not copied.

    Args:
        backbone: A functional `keras.Model` of images: one input of rank 4.
        strides: Positive integer, or a list of them: pixels of the image from one cell of a tapped
            map to the next.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: As for every Keras model (`name`, `trainable`).

    Returns:
        When called: a list of feature maps in the order of `strides`; of a single stride, the
        map itself.

    Raises:
        ValueError: If the backbone is not functional or not of images, or has no feature map of a
            stride; the message lists the strides that it has, and says if there may be others in a
            nested model, where none is seen. If the data format is unknown.

    Example:
        >>> inputs = keras.Input((64, 64, 3))
        >>> x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(inputs)
        >>> backbone = keras.Model(inputs, keras.layers.MaxPooling2D()(x))
        >>> [x.shape[1] for x in FeatureExtractor(backbone, [2, 4]).outputs]
        [32, 16]
    """

    def __init__(self, backbone, strides, *, data_format=None, **kwargs):
        data_format = checked_data_format(data_format)
        taps = measure_strides(backbone, data_format=data_format)
        strides = list(strides) if isinstance(strides, (list, tuple)) else [strides]
        missing = [stride for stride in strides if stride not in taps]
        if missing or not strides:
            raise ValueError(
                f"`strides` must be among those of the backbone {backbone.name!r}, which are "
                f"{sorted(taps)}. Received: strides={strides}{_hint_of_nesting(backbone)}"
            )
        super().__init__(
            inputs=backbone.inputs[0], outputs=[taps[stride] for stride in strides], **kwargs
        )
        # Past Keras' tracking: layers behind the last tap would count as weights without gradient.
        object.__setattr__(self, "backbone", backbone)
        self.strides = strides
        self.data_format = data_format

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "strides": list(self.strides),
            "data_format": self.data_format,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        config["backbone"] = keras.saving.deserialize_keras_object(
            config["backbone"], custom_objects=custom_objects
        )
        return cls(**config)


def measure_strides(model, *, data_format=None):
    """Feature maps of a functional model by stride.

    The model is traced, not run, on images of two sizes; a tensor's stride is the growth of the
    image by the growth of the tensor, so that borders lost to `"valid"` convolutions do not
    disturb it. Where the model takes images of one size only, the stride is the quotient of the
    sizes, rounded to a power of two if it is not whole.

    Args:
        model: A functional `keras.Model` with one input of rank 4.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.

    Returns:
        Dictionary from stride (integer, pixels) to the last symbolic tensor of that stride. Where
        a map is padded (by `ZeroPadding2D`, say), the last one of the unpadded size is preferred.

    Raises:
        ValueError: If the model is not functional, its input is not one batch of images, or the
            data format is unknown.

    Example:
        >>> inputs = keras.Input((None, None, 3))
        >>> model = keras.Model(inputs, keras.layers.Conv2D(4, 3, strides=4)(inputs))
        >>> sorted(measure_strides(model))
        [1, 4]
    """
    _check_image_model(model)
    data_format = checked_data_format(data_format)
    spatial = slice(2, 4) if data_format == "channels_first" else slice(1, 3)
    tensors = [
        tensor
        for operation in _graph(model).operations
        for tensor in keras.tree.flatten(operation.output)
        if len(tensor.shape) == 4
    ]
    found, unpadded = {}, {}
    for tensor, stride, exact in zip(
        tensors, *_strides(model.inputs[0], tensors, spatial), strict=True
    ):
        if stride:
            found[stride] = tensor
            if exact:
                unpadded[stride] = tensor
    return found | unpadded


# Multiples of every stride in use, those of patches of 7 or 14 pixels included; the images are
# only traced, so that their size costs nothing.
_PROBES = (13440, 2 * 13440)


def _strides(image, tensors, spatial):
    """Stride of each tensor, or None, and whether its size is the image's by its stride."""
    if None in image.shape[spatial]:
        probe = keras.Model(image, tensors)
        (size, shapes), (wider, larger) = (_probed(probe, image, spatial, p) for p in _PROBES)
        strides = [
            _common(map(_growth, size, wider, *sides)) for sides in zip(shapes, larger, strict=True)
        ]
    else:
        size = image.shape[spatial]
        shapes = [tensor.shape[spatial] for tensor in tensors]
        strides = [_common(map(_quotient, size, shape)) for shape in shapes]
    exact = [
        stride is not None and tuple(stride * side for side in shape) == tuple(size)
        for stride, shape in zip(strides, shapes, strict=True)
    ]
    return strides, exact


def _growth(size, wider, small, large):
    """Stride of a map with `small` and `large` cells on images of `size` and `wider` pixels."""
    image, grown = wider - size, large - small
    if image == 0:
        return _quotient(size, small)
    return image // grown if grown > 0 and image % grown == 0 else None


def _probed(probe, image, spatial, size):
    """The image's height and width, `size` where they are free, and those of every output."""
    shape = [1, *(size if side is None else side for side in image.shape[1:])]
    outputs = probe.compute_output_spec(keras.KerasTensor(shape, image.dtype))
    return tuple(shape[spatial]), [tuple(x.shape[spatial]) for x in keras.tree.flatten(outputs)]


def _quotient(full, side):
    """Whole quotient, else the nearest power of two; None for a map pooled to one cell."""
    if side is None or side < 1 or (side == 1 and full > 1):
        return None
    return full // side if full % side == 0 else 2 ** round(math.log2(full / side))


def _common(strides):
    """The stride of both axes, if it is one."""
    vertical, horizontal = strides
    return vertical if vertical == horizontal else None


def _hint_of_nesting(model):
    """What to do where the maps that are missing may lie inside a model within the model."""
    nested = [x.name for x in _graph(model).operations if isinstance(x, keras.Model)]
    if not nested:
        return ""
    return (
        f". Feature maps inside the nested models {nested} are not seen: build the backbone on the "
        "tensors that they get, in one graph, for instance as "
        "`MobileNetV2(input_tensor=preprocess_input(inputs), include_top=False)`."
    )


def _graph(model):
    """The model itself; a sequential one shows its graph only as a functional one of its layers."""
    return model if hasattr(model, "operations") else keras.Model(model.inputs, model.outputs)


def _has_graph(model):
    return hasattr(model, "operations") or isinstance(model, keras.Sequential)


def _check_image_model(model):
    inputs = getattr(model, "inputs", None)
    if not isinstance(model, keras.Model) or not inputs or not _has_graph(model):
        raise ValueError(
            "`backbone` must be a functional or built sequential `keras.Model`, whose graph can be "
            f"read. Received: {model!r}"
        )
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ValueError(
            "`backbone` must have one input, a batch of images of rank 4. "
            f"Received: inputs of shapes {[x.shape for x in inputs]}"
        )
