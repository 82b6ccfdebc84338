"""Registration, look-up and discovery of plugins, and loading of models that use them."""

from keras_cvx.plugins.loading import get, load_model
from keras_cvx.plugins.registry import (
    Plugin,
    entry_points,
    lookup,
    register,
    registered,
)

__all__ = [
    "Plugin",
    "entry_points",
    "get",
    "load_model",
    "lookup",
    "register",
    "registered",
]
