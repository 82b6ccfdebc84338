"""What a model must be to serve as a backbone."""

import keras


def check_image_model(model, argument="backbone"):
    """Raises unless a model's graph can be read and takes one batch of images.

    Args:
        model: Any object.
        argument: String, the name by which the error calls it.

    Raises:
        ValueError: If it is no functional or built sequential `keras.Model`, or has another input
            than one of rank 4.
    """
    inputs = getattr(model, "inputs", None)
    readable = hasattr(model, "operations") or isinstance(model, keras.Sequential)
    if not isinstance(model, keras.Model) or not inputs or not readable:
        mend = f". Pass `keras_cvx.backbones.get({model!r})`." if isinstance(model, str) else ""
        raise ValueError(
            f"`{argument}` must be a functional or built sequential `keras.Model`, whose graph can "
            f"be read. Received: {model!r}{mend}"
        )
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ValueError(
            f"`{argument}` must have one input, a batch of images of rank 4. "
            f"Received: inputs of shapes {[x.shape for x in inputs]}"
        )


def check_no_top(model, argument="backbone"):
    """Raises if a model ends in vectors where a backbone is wanted, which ends in feature maps.

    Args:
        model: A functional or built sequential `keras.Model`.
        argument: String, the name by which the error calls it.

    Raises:
        ValueError: If every output is of rank 2 or less.

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> check_no_top(keras.Model(inputs, keras.layers.MaxPooling2D()(inputs)))
    """
    shapes = [x.shape for x in model.outputs]
    if all(len(shape) <= 2 for shape in shapes):
        raise ValueError(
            f"`{argument}` must end in feature maps: a model with its classification top, or a "
            f"pooling, has been given where a backbone is wanted. Received: {model.name!r} with "
            f"outputs of shapes {shapes}. Build it with `include_top=False` and without `pooling`."
        )
