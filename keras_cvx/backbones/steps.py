"""A model's graph as the calls of its layers one by one, those inside nested models among them."""

import dataclasses
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

    def repeat(self, known):
        """Calls the operation where other tensors stand for some of its inputs.

        Args:
            known: Dictionary from the id of a tensor of the trace to the one that stands for it.
                The new outputs are added to it.
        """
        args, kwargs = keras.tree.map_structure(
            lambda x: known.get(id(x), x), (self.args, self.kwargs)
        )
        outputs = keras.tree.flatten(self.operation(*args, **kwargs))
        known.update((id(x), y) for x, y in zip(self.outputs, outputs, strict=True))


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
