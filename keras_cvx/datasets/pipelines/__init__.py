"""Batches for `fit`: one order and one batch for all, served by tf.data, Keras or grain."""
