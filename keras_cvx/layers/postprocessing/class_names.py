"""The names of a model's classes, kept where its file keeps all else: in a layer."""

import keras

from keras_cvx import plugins


@plugins.register("ClassNames", kind="layer")
class ClassNames(keras.layers.Layer):
    """Passes the scores of classes through, and knows what the classes are called.

    The last layer of a classifier. A saved model then tells its own names, which
    `keras_cvx.models.decode_predictions` reads.

    Args:
        class_names: List of strings, all different: the name of class 0, of class 1 and so on.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        scores: Tensor `(..., C)`, as many scores as names.

    Returns:
        `scores`, in their own dtype.

    Raises:
        ValueError: If the names are none, no strings or not different, or there are not as many
            scores.

    Example:
        >>> scores = ClassNames(["cat", "dog"])(keras.ops.array([[0.25, 0.75]]))
        >>> keras.ops.convert_to_numpy(scores).tolist()
        [[0.25, 0.75]]
    """

    def __init__(self, class_names, **kwargs):
        super().__init__(**kwargs)
        names = list(class_names) if isinstance(class_names, (list, tuple)) else []
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError(
                "`class_names` must be a list of strings, one for each class. "
                f"Received: class_names={class_names!r}"
            )
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"`class_names` must all be different. Received twice: {repeated}")
        self.class_names = names
        # Half precision would round the scores on their way.
        self.autocast = False
        self.built = True

    def call(self, scores):
        self._check(scores.shape)
        return scores

    def compute_output_shape(self, input_shape):
        self._check(input_shape)
        return input_shape

    def compute_output_spec(self, scores):
        return keras.KerasTensor(self.compute_output_shape(scores.shape), dtype=scores.dtype)

    def get_config(self):
        return {**super().get_config(), "class_names": list(self.class_names)}

    def _check(self, shape):
        if not shape or shape[-1] not in (None, len(self.class_names)):
            raise ValueError(
                f"`scores` must be (..., {len(self.class_names)}), one for each of the names. "
                f"Received: shape {tuple(shape)}"
            )
