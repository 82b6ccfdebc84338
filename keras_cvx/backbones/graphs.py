"""The tensors of a model's graph, those inside nested models and of repeated uses included."""

import collections
import contextlib
import functools

import keras

# Of a tensor: its layer's name, which use of the layer it is of, and its place among the layer's
# outputs; of one inside a nested model, the model's name and use before these.
INPUT = ("", 0, 0)


def trace(model):
    """Every tensor of a graph by its path, in the order of the graph.

    The layers are called anew, on the model's own symbolic inputs: this alone shows every use of a
    layer, and nothing of it is computed or stored in new weights.

    Args:
        model: A functional or built sequential `keras.Model`.

    Returns:
        Dictionary from path to symbolic tensor, the first one the model's input.
    """
    return {INPUT: model.inputs[0]} | _traced(model, _opened, model.inputs)[1]


def trace_any_size(model, spatial):
    """As `trace`, of the same layers on new images of any size.

    Args:
        model: A functional or built sequential `keras.Model`.
        spatial: Slice of the axes of height and width.

    Returns:
        Dictionary from path to symbolic tensor, up to the first layer that is made for one size.
    """
    inputs = [_any_size(x, spatial) for x in model.inputs]
    tensors = {INPUT: inputs[0]}
    # An exception is whatever a layer, anyone's, raises on images of another size.
    with contextlib.suppress(Exception):
        _traced(model, _opener(spatial), inputs, tensors)
    return tensors


def select(model, paths):
    """Tensors of a graph by their paths, to build a functional model of.

    A nested model that a path leads into is replaced by one that shares its layers and ends where
    the path ends, unless what follows is needed by the tensors behind it.

    Args:
        model: A functional or built sequential `keras.Model`.
        paths: List of paths that `trace` found.

    Returns:
        List of symbolic tensors.
    """
    everything = trace(model)
    if any(is_graph(layer) for layer in graph(model).operations):
        everything = {INPUT: model.inputs[0]} | _cut(model, paths, everything, [], model.inputs)[1]
    return [everything[path] for path in paths]


def graph(model):
    """A functional model of the same layers; of a sequential or compiled one too."""
    return keras.Model(model.inputs, model.outputs)


def is_graph(layer):
    """Whether a layer is a model that does what its graph says, and no more.

    Args:
        layer: Any Keras layer or operation.
    """
    if isinstance(layer, keras.Sequential):
        return type(layer).call is keras.Sequential.call
    if not isinstance(layer, keras.Model) or not hasattr(layer, "operations"):
        return False
    return type(layer).call is type(graph(layer)).call


def _traced(model, open_model, inputs, tensors=None):
    """Outputs of a model, called on other inputs of its kind, and all its tensors by path.

    `tensors` may be given to be filled.

    `open_model` returns what is called instead of a nested model: a model whose outputs are those
    of the nested one and tensors inside, the paths of the latter, and whether it has the former.
    """
    tensors = {} if tensors is None else tensors
    opened: dict = {}
    uses: collections.Counter = collections.Counter()

    def call(layer, *args, **kwargs):
        prefix = (layer.name, uses[layer.name])
        uses[layer.name] += 1
        inside: list = []
        if is_graph(layer):
            if layer.name not in opened:
                opened[layer.name] = open_model(layer)
            substitute, paths, complete = opened[layer.name]
            if paths:
                inside = keras.tree.flatten(substitute(*args, **kwargs))
        if inside and complete:
            count = len(inside) - len(paths)
            outputs, inside = inside[:count], inside[count:]
        else:
            outputs = keras.tree.flatten(layer(*args, **kwargs))
        if inside:
            tensors.update(((*prefix, *p), x) for p, x in zip(paths, inside, strict=True))
        tensors.update(((*prefix, index), x) for index, x in enumerate(outputs))
        return outputs

    copy = keras.models.clone_model(
        graph(model),
        input_tensors=inputs,
        clone_function=lambda layer: layer,
        call_function=call,
    )
    return copy.outputs, tensors


def _opened(model, spatial=None):
    """A nested model with all its tensors as outputs, of images of any size if axes are given."""
    structure = _structure(model)
    if spatial is not None:
        structure = keras.tree.map_structure(lambda x: _any_size(x, spatial), structure)
    inputs = keras.tree.flatten(structure)
    outputs, tensors = _traced(model, _opener(spatial), inputs)
    substitute = keras.Model(structure, [*outputs, *tensors.values()], name=model.name)
    return substitute, list(tensors), True


def _opener(spatial):
    return functools.partial(_opened, spatial=spatial)


def _any_size(x, spatial):
    shape = list(x.shape)
    if len(shape) == 4:
        shape[spatial] = [None, None]
    return keras.Input(batch_shape=shape, dtype=x.dtype)


def _cut(model, paths, everything, behind, inputs):
    """As `_traced`, with the nested models cut to the paths.

    `everything` are all tensors by path, `behind` those that are needed besides the paths.
    """

    def open_model(layer):
        inner = [path[2:] for path in paths if path[0] == layer.name and len(path) > 3]
        if not inner:
            return layer, [], True
        others = behind + [
            everything[path] for path in paths if path[0] != layer.name or len(path) == 3
        ]
        used_again = (layer.name, 1) in {path[:2] for path in everything}
        complete = used_again or _leads_through(layer.name, model, others)
        outputs, inner_everything = _traced(layer, _opened, layer.inputs)
        needed = outputs if complete else []
        outputs, tensors = _cut(layer, inner, inner_everything, needed, layer.inputs)
        kept = [*(outputs if complete else []), *(tensors[path] for path in inner)]
        return keras.Model(_structure(layer), kept, name=layer.name), inner, complete

    return _traced(model, open_model, inputs)


def _leads_through(name, model, tensors):
    """Whether a layer is needed for any of some tensors."""
    if not tensors:
        return False
    return name in {layer.name for layer in keras.Model(model.inputs, tensors).operations}


def _structure(model):
    """The inputs that a model begins with, in the structure in which it takes them.

    A sequential model's `input` is what it was called on.
    """
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input
