"""Initial values of weights that Keras lacks."""

from keras_cvx.initializers.bilinear_upsampling import BilinearUpsampling

__all__ = ["BilinearUpsampling"]
