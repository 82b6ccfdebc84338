"""A model that returns the feature maps of another one at the strides asked for."""

import keras

from keras_cvx import plugins
from keras_cvx.backbones import graphs
from keras_cvx.backbones.strides import FeatureMaps
from keras_cvx.ops.arguments import check_integers, checked_data_format


@plugins.register("FeatureExtractor", kind="model")
class FeatureExtractor(keras.Model):
    """A functional model that returns a backbone's feature maps at the strides asked for.

    Of the tensors of one stride the last one is tapped, in the order of the graph: the most
    processed one, in nested models too. Weights are shared with the backbone, not copied. A vision
    transformer's tokens are laid out as a map, see `measure_strides`.

    Args:
        backbone: A functional or built sequential `keras.Model` of images: one input of rank 4.
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
            subclassed model, where none is seen. If the data format is unknown.

    Example:
        >>> inputs = keras.Input((64, 64, 3))
        >>> x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(inputs)
        >>> backbone = keras.Model(inputs, keras.layers.MaxPooling2D()(x))
        >>> [x.shape[1] for x in FeatureExtractor(backbone, [2, 4]).outputs]
        [32, 16]
    """

    def __init__(self, backbone, strides, *, data_format=None, **kwargs):
        data_format = checked_data_format(data_format)
        maps = FeatureMaps(backbone, data_format)
        strides = list(strides) if isinstance(strides, (list, tuple)) else [strides]
        for stride in strides:
            check_integers(1, strides=stride)
        strides = [int(stride) for stride in strides]
        missing = [stride for stride in strides if stride not in maps.found]
        if missing or not strides:
            raise ValueError(
                f"`strides` must be among those of the backbone {backbone.name!r}, which are "
                f"{sorted(maps.found)}. Received: strides={strides}{maps.hint()}"
            )
        taps = [maps.found[stride] for stride in strides]
        tensors = graphs.select(backbone, [path for path, _ in taps])
        outputs = [
            x if layout is None else layout(x) for x, (_, layout) in zip(tensors, taps, strict=True)
        ]
        # Keras unpacks a list of one when it is run, and not when it is called in a graph.
        super().__init__(
            inputs=backbone.inputs[0], outputs=outputs if len(outputs) > 1 else outputs[0], **kwargs
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
