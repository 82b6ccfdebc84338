"""The contract that plugins keep, as a check, and hypothesis strategies for their tests.

It is imported explicitly, as `import keras_cvx.testing`.
"""

from keras_cvx.testing.contract import CLAUSES, ContractError, check
from keras_cvx.testing.strategies import boxes, image_sizes, labelled_boxes

__all__ = ["CLAUSES", "ContractError", "boxes", "check", "image_sizes", "labelled_boxes"]
