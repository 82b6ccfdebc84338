"""Feature maps of a model by their stride, which is measured and not guessed from names."""

import math

import keras

from keras_cvx.backbones import graphs
from keras_cvx.backbones.checks import check_image_model
from keras_cvx.backbones.tokens_to_map import TokensToMap
from keras_cvx.ops.arguments import checked_data_format, spatial_axes


def measure_strides(model, *, data_format=None):
    """Feature maps of a functional model by stride.

    The model is traced, not run, on images of two sizes; a tensor's stride is the growth of the
    image by the growth of the tensor, so that borders lost to `"valid"` convolutions do not
    disturb it. Where a layer takes images of one size only, the stride is the quotient of the
    sizes, rounded to a power of two if it is not whole.

    Nested functional and sequential models are looked into, and every use of a layer is seen. Of a
    model that ends in tokens `(B, N, C)` and takes images of one size, tokens are feature maps too:
    `TokensToMap` lays those of the patches out, and drops up to five before them.

    Args:
        model: A functional or built sequential `keras.Model` with one input of rank 4.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.

    Returns:
        Dictionary from stride (integer, pixels) to the last symbolic tensor of that stride. Where
        a map is padded (by `ZeroPadding2D`, say), the last one of the unpadded size is preferred.
        A stride that the number of tokens leaves in doubt is not among them.

    Raises:
        ValueError: If the model is not functional, its input is not one batch of images, its layers
            do not take images of any size though its input does, or the data format is unknown.

    Example:
        >>> inputs = keras.Input((None, None, 3))
        >>> model = keras.Model(inputs, keras.layers.Conv2D(4, 3, strides=4)(inputs))
        >>> sorted(measure_strides(model))
        [1, 4]
    """
    maps = FeatureMaps(model, checked_data_format(data_format), "model")
    return {
        stride: maps.tensors[path] if layout is None else layout(maps.tensors[path])
        for stride, (path, layout) in maps.found.items()
    }


class FeatureMaps:
    """`found`: by stride the path of the tensor to tap, and the layer that makes a map of it."""

    def __init__(self, model, data_format, argument="backbone"):
        check_image_model(model, argument)
        self.model = model
        self.tensors = graphs.trace(model)
        spatial = spatial_axes(data_format)
        maps = {path: x for path, x in self.tensors.items() if len(x.shape) == 4}
        measured = _strides(model, maps, spatial, argument)
        tokens = _tokens(model, self.tensors, spatial)
        self.doubtful = []
        found: dict = {}
        unpadded: dict = {}
        for path, tensor in self.tensors.items():
            stride, exact = measured.get(path, (None, False))
            grids = tokens.get(path, [])
            layout = None
            if len(grids) > 1:
                self.doubtful.append((tensor.shape, [grid[0] for grid in grids]))
            elif grids:
                stride, height, width, prefix = grids[0]
                exact = True
                layout = TokensToMap(
                    height,
                    width,
                    num_prefix_tokens=prefix,
                    data_format=data_format,
                    dtype=tensor.dtype,
                    name=f"map_of_stride_{stride}",
                )
            if stride:
                found[stride] = path, layout
                if exact:
                    unpadded[stride] = path, layout
        self.found = found | unpadded

    def hint(self):
        """Where the maps that are missing may be."""
        if self.doubtful:
            shape, strides = self.doubtful[-1]
            return f". Tokens of shape {shape} could be the map of any of the strides {strides}"
        closed = [
            layer.name
            for layer in graphs.graph(self.model).operations
            if isinstance(layer, keras.Model) and not graphs.is_graph(layer)
        ]
        if closed:
            return (
                f". Feature maps inside the models {closed} are not seen: they are subclassed, and "
                "have no graph that could be read"
            )
        if set(self.found) <= {1}:
            return ". Besides the images it has no map: its layers are not spatial"
        return ""


# Multiples of every stride in use, those of patches of 7 or 14 pixels included; the images are
# only traced, so that their size costs nothing.
_PROBES = (13440, 2 * 13440)


def _strides(model, maps, spatial, argument):
    """By path the stride of each map, if it has one, and whether it tiles the image with it."""
    image = model.inputs[0]
    size = tuple(image.shape[spatial])
    if None in size:
        try:
            size, shapes, strides = _grown(image, maps, spatial)
        except Exception as error:
            raise ValueError(
                f"`{argument}` must take images of any size, as its input says. Received: "
                f"{model.name!r} with an input of shape {image.shape}, a layer of which does not. "
                "Give the model an input of the size that the layer takes; its error stands above."
            ) from error
    else:
        shapes = {path: x.shape[spatial] for path, x in maps.items()}
        strides = {path: _common(map(_quotient, size, shape)) for path, shape in shapes.items()}
        for path, stride in _grown_at_any_size(model, maps, spatial).items():
            # What does not grow with the image, as it is reshaped to one size, has its quotient
            # only; and so has a stride that the probing images are no multiple of.
            if stride or (stride is None and not _tiles(strides[path], shapes[path], size)):
                strides[path] = stride
    return {
        path: (stride, _tiles(stride, shapes[path], size))
        for path, stride in strides.items()
        if stride
    }


def _tiles(stride, shape, size):
    return stride is not None and tuple(stride * side for side in shape) == size


def _grown_at_any_size(model, maps, spatial):
    """Strides by growth of the maps that can grow, in a model that takes images of one size."""
    anywhere = graphs.trace_any_size(model, spatial)
    image = anywhere[graphs.INPUT]
    tensors = {path: anywhere[path] for path in maps if path in anywhere}
    try:
        return _grown(image, tensors, spatial)[2]
    except Exception:  # Whatever a layer, anyone's, raises on images of one size or the other.
        return {}


def _grown(image, maps, spatial):
    """The smaller of two sizes of images, and by path the size and the stride of each map."""
    probe = keras.Model(image, list(maps.values()))
    (size, shapes), (wider, larger) = (_probed(probe, image, spatial, p) for p in _PROBES)
    strides = [
        _common(map(_growth, size, wider, *sides)) for sides in zip(shapes, larger, strict=True)
    ]
    return size, dict(zip(maps, shapes, strict=True)), dict(zip(maps, strides, strict=True))


def _growth(size, wider, small, large):
    """Stride of a map with `small` and `large` cells on images of `size` and `wider` pixels.

    It is 0 if the map does not grow, and None if it grows in no whole step.
    """
    image, grown = wider - size, large - small
    if image == 0:
        return _quotient(size, small)
    if grown <= 0:
        return 0
    return image // grown if image % grown == 0 else None


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


# A class token, one of distillation, or four registers: DINOv2 has five in all.
_MOST_PREFIX_TOKENS = 5


def _tokens(model, tensors, spatial):
    """What each tensor of tokens can be: tuples of stride, height, width and tokens before.

    A grid has at least two rows and columns, as one cell tells nothing. A model that does not end
    in tokens may have sequences inside that are of something else.
    """
    if not any(len(x.shape) == 3 for x in model.outputs):
        return {}
    image = model.inputs[0]
    height, width = image.shape[spatial]
    tokens = {path: x for path, x in tensors.items() if len(x.shape) == 3 and x.shape[1]}
    if height is None or width is None or not tokens:
        return {}
    # Windows of a shifted-window transformer lie on the batch axis, and are not tokens of an image.
    probe = keras.Model(image, list(tokens.values()))
    batch = keras.KerasTensor((2, *image.shape[1:]), image.dtype)
    shapes = [x.shape for x in keras.tree.flatten(probe.compute_output_spec(batch))]
    common = math.gcd(height, width)
    strides = [s for s in range(2, common + 1) if common % s == 0 and min(height, width) > s]
    return {
        path: [
            (stride, height // stride, width // stride, prefix)
            for stride in strides
            for prefix in [shape[1] - (height // stride) * (width // stride)]
            if shape[0] in (2, None) and 0 <= prefix <= _MOST_PREFIX_TOKENS
        ]
        for path, shape in zip(tokens, shapes, strict=True)
    }
