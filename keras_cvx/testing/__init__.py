"""The contract that plugins keep, as a check, and hypothesis strategies for their tests.

It is imported explicitly, as `import keras_cvx.testing`.
"""

from keras_cvx.testing.contract import CLAUSES, ContractError, check
from keras_cvx.testing.strategies import arguments, boxes, image_sizes, labelled_boxes

__all__ = [
    "CLAUSES",
    "ContractError",
    "arguments",
    "boxes",
    "check",
    "image_sizes",
    "labelled_boxes",
]
