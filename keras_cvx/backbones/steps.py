"""A model's graph as the calls of its layers one by one, those inside nested models among them."""

import dataclasses
import itertools
from typing import Any

import keras

from keras_cvx.backbones.graphs import graph, is_graph


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One call of a layer or another operation on symbolic tensors."""

    operation: Any
    args: tuple
    kwargs: dict
    outputs: list

    @property
    def inputs(self):
        """The symbolic tensors among the arguments."""
        leaves = keras.tree.flatten((self.args, self.kwargs))
        return [x for x in leaves if isinstance(x, keras.KerasTensor)]

    def repeat(self, known, names):
        """Calls the operation where other tensors stand for some of its inputs.

        Args:
            known: Dictionary from the id of a tensor of the trace to the one that stands for it.
                The new outputs are added to it.
            names: Dictionary of what is in the new graph, by name. What comes in is added to it.
        """
        given = {id(x): known.get(id(x), x) for x in self.inputs}
        if names.setdefault(self.operation.name, self.operation) is self.operation:
            outputs = self._called_on(given)
        else:
            # Parts of two models may have one name, which no graph allows. It stays the layer's.
            inside = {
                key: keras.Input(batch_shape=x.shape, dtype=x.dtype) for key, x in given.items()
            }
            name = unused_name(self.operation.name, names)
            renamed = keras.Model(list(inside.values()), self._called_on(inside), name=name)
            outputs = keras.tree.flatten(renamed(list(given.values())))
        known.update((id(x), y) for x, y in zip(self.outputs, outputs, strict=True))

    def _called_on(self, tensors):
        args, kwargs = keras.tree.map_structure(
            lambda x: tensors.get(id(x), x), (self.args, self.kwargs)
        )
        return keras.tree.flatten(self.operation(*args, **kwargs))


def unused_name(name, names):
    """A name like the given one that nothing in a graph has yet; it is taken from then on.

    Args:
        name: String.
        names: Dictionary of what is in the graph, by name.

    Example:
        >>> unused_name("pool", {"pool": None, "pool_1": None})
        'pool_2'
    """
    numbered = (f"{name}_{number}" if number else name for number in itertools.count())
    name = next(x for x in numbered if x not in names)
    names[name] = None
    return name


def trace_steps(model):
    """The calls of a model's layers in their order, with no nested models left.

    The layers are called anew, on new symbolic inputs; nothing is computed.

    Args:
        model: A functional or built sequential `keras.Model`.

    Returns:
        Tuple of the symbolic inputs, the list of `Step`s from there, and the symbolic outputs.
    """
    steps: list = []
    # What a tensor on the border of a nested model is inside it, or the other way round. The tensor
    # itself is kept beside, for its id must not be given to another.
    same: dict = {}

    def identify(tensors, others):
        same.update((id(x), (x, y)) for x, y in zip(tensors, others, strict=True))

    def at_its_origin(x):
        return same.get(id(x), (x, x))[1]

    def follow(model, inputs):
        def call(operation, *args, **kwargs):
            outputs = operation(*args, **kwargs)
            if is_graph(operation):
                given = keras.tree.flatten(args)
                inside = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in given]
                identify(inside, map(at_its_origin, given))
                identify(keras.tree.flatten(outputs), follow(operation, inside))
            else:
                args, kwargs = keras.tree.map_structure(at_its_origin, (args, kwargs))
                steps.append(Step(operation, args, kwargs, keras.tree.flatten(outputs)))
            return outputs

        flat = graph(model)
        copy = keras.models.clone_model(
            flat,
            input_tensors=keras.tree.pack_sequence_as(flat.input, inputs),
            clone_function=lambda layer: layer,
            call_function=call,
        )
        return [at_its_origin(x) for x in copy.outputs]

    inputs = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in model.inputs]
    return inputs, steps, follow(model, inputs)
