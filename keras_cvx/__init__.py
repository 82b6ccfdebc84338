"""Computer-vision parts for Keras 3, each a serializable plugin."""

__version__ = "0.1.0"
