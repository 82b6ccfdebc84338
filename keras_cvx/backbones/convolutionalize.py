"""A classifier of images of one size, made fully convolutional: it takes images of any size."""

import keras

from keras_cvx.backbones.checks import check_image_model
from keras_cvx.backbones.graphs import is_graph
from keras_cvx.backbones.steps import trace_steps
from keras_cvx.backbones.window_layers import CellwiseHead, DenseConvolution

_GLOBAL_POOLINGS = {
    keras.layers.GlobalAveragePooling2D: keras.layers.AveragePooling2D,
    keras.layers.GlobalMaxPooling2D: keras.layers.MaxPooling2D,
}
# What may stand between `Flatten` and a dense layer: each number goes its own way.
_ELEMENTWISE = (
    keras.layers.Dropout,
    keras.layers.Identity,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
)
# Names of activations that look at more than one number.
_NOT_ELEMENTWISE = ("softmax", "log_softmax", "sparsemax", "glu")
# Pixels that are added to the classifier's images to see how its scores grow.
_PROBE = 2**15


def convolutionalize(classifier):
    """A classifier as a fully convolutional model of images of any size.

    The result has all weights in common with the classifier, and copies none: training the one
    trains the other. On images of the classifier's own size it gives the classifier's scores, as a
    map of one cell. On larger ones, cell `(i, j)` has the scores of the window whose upper left
    corner is the pixel `(i · s, j · s)`, with the network's total stride s, at the cost of one
    pass over the image instead of one over every window.

    The head begins at the last `Flatten` or global pooling that all paths from the image to the
    scores lead through. A dense layer after `Flatten` becomes a convolution of the extent of the
    feature map; global pooling becomes pooling of that extent with stride 1; all that follows is
    applied to each cell as it is, dense layers, dropout, normalization and activations among it.

    What the scores are equal to depends on the network:

    - One that pads nowhere gives each window what the classifier gives the crop, exactly.
    - In one that pads inside (`padding="same"`, `ZeroPadding2D`), a crop has zeros around it where
      the window has its neighbouring pixels, so that scores differ as far from the window's border
      as padding reaches.
    - Global pooling inside the body, as in squeeze-and-excitation, sees the whole image.

    Images whose sides exceed the classifier's by multiples of s are best. On others padding may be
    another than in training and shift all cells by a part of s; and where a stride leaves the last
    pixels of the classifier's images unused, the last cells may be of windows that reach past the
    image by those.

    Args:
        classifier: A functional or built sequential `keras.Model` from one batch of images of a
            fixed size to one vector of scores, also one with models inside it.

    Returns:
        Functional `keras.Model` from images `(B, H, W, C)`, in the classifier's dtype and data
        format, with H and W at least its height and width, to scores `(B, H', W', classes)`, which
        have their channels last in either format.

    Raises:
        ValueError: If the classifier is not functional, or not from one input of images of a fixed
            size to one output; if it has no feature map that is flattened or pooled; or if a part,
            which is named, cannot be made convolutional or keeps images to one size.

    Example:
        >>> inputs = keras.Input((8, 8, 1))
        >>> x = keras.layers.Conv2D(4, 3, strides=2)(inputs)
        >>> x = keras.layers.Dense(10)(keras.layers.Flatten()(x))
        >>> convolutional = convolutionalize(keras.Model(inputs, x))
        >>> convolutional.compute_output_shape((1, 8, 14, 1))
        (1, 1, 4, 10)

    Reference:
        Long, Shelhamer and Darrell 2015, Fully Convolutional Networks for Semantic Segmentation,
        section 3.1; Sermanet et al. 2014, OverFeat, section 3.5.
    """
    check_classifier(classifier)
    if not is_graph(classifier):
        raise ValueError(
            "`classifier` must be a functional or built sequential `keras.Model` that does what "
            f"its graph says, and no more. Received: {classifier!r}, whose `call` is its own"
        )
    [image], steps, [output] = trace_steps(classifier)
    boundaries, head = _split(steps, output)
    channels_first = boundaries[0].operation.data_format == "channels_first"
    shape = (image.shape[1], None, None) if channels_first else (None, None, image.shape[3])
    images = keras.Input(shape, dtype=image.dtype, name="images")
    maps = _maps(steps, boundaries, {id(image): images})
    cells, rest = _cells(boundaries, head, maps)
    name = f"{classifier.name}_convolutional"
    model = keras.Model(images, _scores(cells, rest, output), name=name)
    window_strides(model, classifier)
    return model


def window_strides(model, classifier):
    """Pixels from one cell of a convolutionalized classifier's scores to the next.

    Args:
        model: What `convolutionalize` returned.
        classifier: What was given to it.

    Returns:
        Tuple of two integers, down and across.

    Raises:
        ValueError: If the scores do not grow with the image.
    """
    image = model.inputs[0].shape
    free = [axis for axis, side in enumerate(image) if axis and side is None]

    def cells(*added):
        shape = [1, *image[1:]]
        for axis, more in zip(free, added, strict=True):
            shape[axis] = classifier.inputs[0].shape[axis] + more
        return model.compute_output_shape(tuple(shape))[1:3]

    # Images are only traced here, so that their size costs nothing. Borders may cost the large
    # ones a cell, which is why the quotient is rounded and then tried.
    counts = cells(_PROBE, _PROBE)
    strides = [round(_PROBE / max(count - 1, 1)) for count in counts]
    if min(counts) < 2 or cells(*(9 * stride for stride in strides)) != (10, 10):
        raise ValueError(
            "`classifier` must be made of layers that take images of any size and keep their "
            "proportions; one that resizes or crops them to one size cannot slide. Received: "
            f"{classifier.name!r}, whose scores grow from 1 × 1 to {counts[0]} × {counts[1]} cells "
            f"when {_PROBE} pixels are added to each side. Take that layer out."
        )
    return tuple(strides)


def check_classifier(classifier):
    """Raises unless a model gives one vector of scores for one image of a fixed size.

    Args:
        classifier: Any object.

    Raises:
        ValueError: If it is no functional or built sequential `keras.Model`, or another one.
    """
    check_image_model(classifier, "classifier")
    [images], outputs = classifier.inputs, classifier.outputs
    if len(outputs) != 1 or sum(side != 1 for side in outputs[0].shape[1:]) > 1:
        raise ValueError(
            "`classifier` must have one output, one vector of scores for an image. "
            f"Received: outputs of shapes {[x.shape for x in outputs]}"
        )
    if None in images.shape[1:]:
        raise ValueError(
            "`classifier` must take images of a fixed size, that of the windows. Received: one "
            f"with the input shape {images.shape}. Give it the size that it was trained on, as "
            "`keras.Sequential([keras.Input((64, 64, 3)), classifier])`."
        )


def _split(steps, output):
    """The steps at which feature maps become vectors, and the steps from there to the output."""
    # A vector is what no path leads to but through flattening or pooling.
    vectors: set = set()
    for step in steps:
        inputs = step.inputs
        if _makes_vectors(step) or (inputs and all(id(x) in vectors for x in inputs)):
            vectors.update(id(x) for x in step.outputs)
    if id(output) not in vectors:
        maker = steps[-1].operation.name if steps else "no layer"
        raise ValueError(
            "`classifier` must lead from its feature maps to its scores through `Flatten`, "
            "`GlobalAveragePooling2D` or `GlobalMaxPooling2D`; this one has no spatial feature map "
            f"that ends there. Received: {output.shape} made by {maker!r}"
        )
    boundaries: list = []
    head: list = []
    needed = {id(output)}
    for step in reversed(steps):
        if needed.isdisjoint(map(id, step.outputs)):
            continue
        if _makes_vectors(step) and id(step.inputs[0]) not in vectors:
            boundaries.insert(0, step)
        else:
            head.insert(0, step)
            needed.update(map(id, step.inputs))
    return boundaries, head


def _makes_vectors(step):
    makes = isinstance(step.operation, (keras.layers.Flatten, *_GLOBAL_POOLINGS))
    return makes and len(step.inputs[0].shape) == 4


def _maps(steps, boundaries, known):
    """The feature maps that the boundaries end, of images of any size.

    `known` has the new images by the id of the old ones.
    """
    needed = {id(step.inputs[0]) for step in boundaries}
    body: list = []
    for step in reversed(steps):
        if not needed.isdisjoint(map(id, step.outputs)):
            body.insert(0, step)
            needed.update(map(id, step.inputs))
    for step in body:
        try:
            step.repeat(known)
        except Exception as error:
            raise ValueError(
                "`classifier` must be made of layers that take images of any size. Received: "
                f"{step.operation.name!r}, which does not: {error}"
            ) from error
    return [known[id(step.inputs[0])] for step in boundaries]


def _cells(boundaries, head, maps):
    """Where the windows' vectors are made.

    Returns:
        Pairs of a tensor of the classifier and the map that has it for every window, its channels
        last; and the steps of the head that are left.
    """
    cells, flat, rest = [], {}, []
    for step, feature_map in zip(boundaries, maps, strict=True):
        channels_first = step.operation.data_format == "channels_first"
        extent = step.inputs[0].shape[2:4] if channels_first else step.inputs[0].shape[1:3]
        pooled = isinstance(step.operation, tuple(_GLOBAL_POOLINGS))
        x = _pooling(step.operation, extent)(feature_map) if pooled else feature_map
        x = keras.layers.Permute((2, 3, 1))(x) if channels_first else x
        if pooled or extent == (1, 1):
            cells.append((step.outputs[0], x))
        else:
            flat[id(step.outputs[0])] = extent, x
    for step in head:
        known = {id(x): flat[id(x)] for x in step.inputs if id(x) in flat}
        if not known:
            rest.append(step)
            continue
        [(extent, x)] = known.values()
        if type(step.operation) is keras.layers.Dense:
            cells.append((step.outputs[0], DenseConvolution(step.operation, *extent)(x)))
        elif _is_elementwise(step.operation):
            flat[id(step.outputs[0])] = extent, step.operation(x)
        else:
            raise ValueError(
                "`classifier` must have a `keras.layers.Dense` after `Flatten`, and nothing "
                "between them but dropout and elementwise activations. Received: "
                f"{step.operation.name!r}, a {type(step.operation).__name__}, which works on the "
                f"{extent[0]} × {extent[1]} feature map as one vector. Put it before `Flatten` or "
                "behind the dense layer."
            )
    if not cells:
        raise ValueError(
            "`classifier` must have a dense layer after `Flatten`. Received: one whose scores are "
            "the flattened feature map"
        )
    return cells, rest


def _pooling(layer, extent):
    """Pools every window of an extent as a layer pools the whole map."""
    pooling = next(p for whole, p in _GLOBAL_POOLINGS.items() if isinstance(layer, whole))
    options = {"data_format": layer.data_format, "dtype": layer.dtype_policy}
    return pooling(extent, strides=1, **options)


def _is_elementwise(operation):
    if isinstance(operation, keras.layers.Activation):
        return getattr(operation.activation, "__name__", "softmax") not in _NOT_ELEMENTWISE
    if isinstance(operation, _ELEMENTWISE):
        return getattr(operation, "noise_shape", None) is None
    return False


def _scores(cells, rest, output):
    """The map of the classifier's outputs: the rest of its head on every cell."""
    if not rest:
        return cells[0][1]
    known = {
        id(vector): keras.Input(vector.shape[1:], dtype=vector.dtype, name=f"vector_{index}")
        for index, (vector, _) in enumerate(cells)
    }
    vectors = list(known.values())
    for step in rest:
        step.repeat(known)
    maps = [x for _, x in cells]
    if len(cells) == 1:
        [vectors], [maps] = vectors, maps
    return CellwiseHead(keras.Model(vectors, known[id(output)], name="head"), name="cells")(maps)
