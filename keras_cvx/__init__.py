"""Computer-vision parts for Keras 3, each a serializable plugin."""

from keras_cvx import (
    backbones,
    codings,
    datasets,
    geometry,
    initializers,
    interop,
    layers,
    losses,
    metrics,
    models,
    ops,
    plugins,
    visualization,
)

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "backbones",
    "codings",
    "datasets",
    "geometry",
    "initializers",
    "interop",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "plugins",
    "visualization",
]
