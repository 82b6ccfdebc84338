"""A classifier of images of one size, made fully convolutional: it takes images of any size."""

import keras

from keras_cvx.backbones.checks import check_image_model
from keras_cvx.backbones.graphs import is_graph
from keras_cvx.backbones.steps import trace_steps, unused_name
from keras_cvx.backbones.window_layers import CellwiseHead, DenseConvolution, WholeWindows
from keras_cvx.ops.arguments import spatial_axes

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
# Pixels that are added to the classifier's images to see how its scores grow: for any stride below
# the root of half of it the quotient rounds to the stride.
_PROBE = 2**20


def convolutionalize(classifier):
    """A classifier as a fully convolutional model of images of any size.

    The result has all weights in common with the classifier, and copies none: training the one
    trains the other. On images of the classifier's own size it gives the classifier's scores, as a
    map of one cell. On larger ones, cell `(i, j)` has the scores of the window whose upper left
    corner is the pixel `(i · s, j · s)`, with the network's total stride s, at the cost of one
    pass over the image instead of one over every window. There is a cell for each window that lies
    wholly in the image, and pixels beyond the last one, on the right and below, are not looked at.

    The head begins at the last `Flatten` or global pooling that all paths from the image to the
    scores lead through. A dense layer after `Flatten` becomes a convolution of the extent of the
    feature map; global pooling becomes pooling of that extent with stride 1; all that follows is
    applied to each cell as it is, dense layers, dropout, normalization and activations among it.

    What the scores are equal to depends on the network:

    - One that pads nowhere gives each window what the classifier gives the crop, exactly.
    - In one that pads inside (`padding="same"`, `ZeroPadding2D`), a crop has zeros around it where
      the window has its neighbouring pixels, so that scores differ as far from the window's border
      as padding reaches.
    - Layers of the body that look at a whole map, as squeeze-and-excitation and group
      normalization do, look at the whole image.

    Args:
        classifier: A functional or built sequential `keras.Model` from one batch of images of a
            fixed size to one vector of scores, also one with models inside it.

    Returns:
        Functional `keras.Model` from images `(B, H, W, C)`, in the classifier's dtype and data
        format, with H and W at least its height and width, to scores `(B, H', W', classes)`, which
        have their channels last in either format. Its layer `"windows"`, a `WholeWindows`, has the
        pair s as `strides`; given smaller images, it raises a `ValueError`.

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
    data_format = boundaries[0].operation.data_format
    spatial = spatial_axes(data_format)
    shape = list(image.shape)
    size, shape[spatial] = image.shape[spatial], (None, None)
    images = keras.Input(shape[1:], dtype=image.dtype, name="images")

    def cells_of(x):
        names = dict.fromkeys(("images", "windows", "cells"))
        maps = _maps(steps, boundaries, {id(image): x}, names)
        return _cells(boundaries, head, maps, names)

    cells, _ = cells_of(images)
    strides = _strides(keras.Model(images, [x for _, x in cells]), classifier.name, size, spatial)
    windows = WholeWindows(size[0], size[1], strides, data_format=data_format, name="windows")
    cells, rest = cells_of(windows(images))
    name = f"{classifier.name}_convolutional"
    return keras.Model(images, _scores(cells, rest, output), name=name)


def _strides(model, name, size, spatial):
    """Pixels from one cell to the next, down and across.

    `model` leads from images of any size to all maps with a cell for each window, and `size` is a
    window's, in the `spatial` axes of the images.
    """

    def counts(*added):
        # Images are only traced here, so that their size costs nothing.
        images = model.inputs[0]
        shape = [1, *images.shape[1:]]
        shape[spatial] = [side + more for side, more in zip(size, added, strict=True)]
        maps = model.compute_output_spec(keras.KerasTensor(shape, images.dtype))
        return [x.shape[1:3] for x in keras.tree.flatten(maps)]

    try:
        grown = counts(_PROBE, _PROBE)
        strides = {tuple(round(_PROBE / max(n - 1, 1)) for n in count) for count in grown}
        added = [9 * max(pair) for pair in zip(*strides, strict=True)]
        cells = set(counts(*added))
    # Whatever a layer, anyone's, raises on images of another size.
    except Exception as error:
        raise _one_size_only(name, f"a layer of which does not: {error}") from error
    if len(strides) == 1 and cells == {(10, 10)}:
        return strides.pop()
    if len(strides) > 1 and min(map(min, grown)) > 1:
        raise ValueError(
            "`classifier` must flatten or pool maps of one stride, so that each window has one "
            f"cell in each. Received: {name!r}, with maps of the strides {sorted(strides)}"
        )
    raise _one_size_only(
        name,
        f"whose scores grow from 1 × 1 to {grown[0][0]} × {grown[0][1]} cells when {_PROBE} pixels "
        "are added to each side. Take out the layer that resizes or crops to one size.",
    )


def _one_size_only(name, received):
    return ValueError(
        "`classifier` must be made of layers that take images of any size, and keep their "
        f"proportions. Received: {name!r}, {received}"
    )


def check_classifier(classifier):
    """Raises unless a model gives one vector of scores for one image of a fixed size.

    Args:
        classifier: Any object.

    Raises:
        ValueError: If it is no functional or built sequential `keras.Model`, or another one.
    """
    check_image_model(classifier, "classifier")
    [images], outputs = classifier.inputs, classifier.outputs
    sides = outputs[0].shape[1:]
    if len(outputs) != 1 or not sides or sum(side != 1 for side in sides) > 1:
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


def _maps(steps, boundaries, known, names):
    """The feature maps that the boundaries end, of images of any size.

    `known` has the new images by the id of the old ones, `names` what is in the new graph.
    """
    needed = {id(step.inputs[0]) for step in boundaries}
    body: list = []
    for step in reversed(steps):
        if not needed.isdisjoint(map(id, step.outputs)):
            body.insert(0, step)
            needed.update(map(id, step.inputs))
    for step in body:
        try:
            _check_weights(step)
            step.repeat(known, names)
        except Exception as error:
            raise _one_size_only(step.operation.name, f"which does not: {error}") from error
    return [known[id(step.inputs[0])] for step in boundaries]


def _check_weights(step):
    """Raises if a layer has a weight for each cell of its map, which it may not tell until run."""
    shapes = {tuple(x.shape[1:]) for x in step.inputs}
    for weight in getattr(step.operation, "weights", []):
        shape = tuple(weight.shape)
        if shape in shapes and sum(side > 1 for side in shape) > 1:
            raise ValueError(f"its weight {weight.path!r} has the shape of the map, {shape}")


def _cells(boundaries, head, maps, names):
    """Where the windows' vectors are made.

    Returns:
        Pairs of a tensor of the classifier and the map that has it for every window, its channels
        last; and the steps of the head that are left.
    """
    cells, flat, rest = [], {}, []
    extents = {}
    for step, feature_map in zip(boundaries, maps, strict=True):
        vector, operation = step.outputs[0], step.operation
        extent = step.inputs[0].shape[spatial_axes(operation.data_format)]
        pooled = isinstance(operation, tuple(_GLOBAL_POOLINGS))
        x = _pooling(operation, extent, names)(feature_map) if pooled else feature_map
        if operation.data_format == "channels_first":
            x = keras.layers.Permute((2, 3, 1), name=unused_name("channels_last", names))(x)
        if pooled or extent == (1, 1):
            cells.append((vector, x))
        else:
            flat[id(vector)], extents[id(vector)] = x, extent
    for step in head:
        flattened = [id(x) for x in step.inputs if id(x) in flat]
        if not flattened:
            rest.append(step)
            continue
        vector, operation = step.outputs[0], step.operation
        extent = extents[flattened[0]]
        if type(operation) is keras.layers.Dense:
            name = unused_name(f"{operation.name}_of_windows", names)
            convolution = DenseConvolution(operation, *extent, name=name)
            cells.append((vector, convolution(flat[flattened[0]])))
        elif _is_elementwise(operation):
            step.repeat(flat, names)
            extents[id(vector)] = extent
        else:
            raise ValueError(
                "`classifier` must have a `keras.layers.Dense` after `Flatten`, and nothing "
                "between them but dropout and Keras' layers of elementwise activations. Received: "
                f"{operation.name!r}, a {type(operation).__name__}, which gets the "
                f"{extent[0]} × {extent[1]} feature map as one vector. Put it before `Flatten` or "
                "behind the dense layer."
            )
    if not cells:
        raise ValueError(
            "`classifier` must have a dense layer after `Flatten`. Received: one whose scores are "
            "the flattened feature map"
        )
    return cells, rest


def _pooling(layer, extent, names):
    """Pools every window of an extent as a layer pools the whole map."""
    pooling = next(p for whole, p in _GLOBAL_POOLINGS.items() if isinstance(layer, whole))
    name = unused_name(f"{layer.name}_of_windows", names)
    options = {"data_format": layer.data_format, "dtype": layer.dtype_policy, "name": name}
    return pooling(extent, strides=1, **options)


def _is_elementwise(operation):
    if isinstance(operation, keras.layers.Activation):
        # Of a function of the user's own nobody knows.
        name = getattr(operation.activation, "__name__", "")
        keras_own = getattr(keras.activations, name, None) is operation.activation
        return keras_own and name not in _NOT_ELEMENTWISE
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
    names = {x.name: None for x in vectors}
    for step in rest:
        step.repeat(known, names)
    maps = [x for _, x in cells]
    if len(cells) == 1:
        [vectors], [maps] = vectors, maps
    return CellwiseHead(keras.Model(vectors, known[id(output)], name="head"), name="cells")(maps)
