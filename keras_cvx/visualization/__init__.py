"""Arrays in, pictures out."""

from keras_cvx.visualization.gallery import gallery

__all__ = ["gallery"]
