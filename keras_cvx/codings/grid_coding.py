"""What every grid coding offers: the meaning of a cell's channels."""


class GridCoding:
    """The meaning of the channels of a detection grid: their number, their boxes, their loss.

    A coding is the one place that knows how a cell speaks of boxes. `GridDetectionHead` asks it
    for channels, `GridDecoding` for boxes, `GridDetectionLoss` for the loss. A new one subclasses
    this class, implements `branches`, `decode`, `loss` and `get_config`, and is registered with
    `kind="coding"`; the rest of the package then takes it by name.

    All coordinates are float32 corners `x0, y0, x1, y1` in pixels. `centers` `(B, A, 2)` and
    `strides` `(B, A, 1)` place the A cells of all levels; `outputs` `(B, A, channels)` are the
    head's raw channels.

    Example:
        >>> from keras import ops
        >>> class CellCoding(GridCoding):  # the box of a cell is the cell
        ...     def branches(self, num_classes):
        ...         return [(num_classes, 0.0)]
        ...
        ...     def decode(self, outputs, centers, strides):
        ...         corners = [centers - strides / 2, centers + strides / 2]
        ...         return ops.concatenate(corners, axis=-1), ops.sigmoid(outputs)
        >>> centers = ops.convert_to_tensor([[[12.0, 4.0]]])
        >>> strides = ops.convert_to_tensor([[[8.0]]])
        >>> boxes, scores = CellCoding().decode(ops.zeros((1, 1, 1)), centers, strides)
        >>> ops.convert_to_numpy(boxes).tolist(), ops.convert_to_numpy(scores).tolist()
        ([[[8.0, 0.0, 16.0, 8.0]]], [[[0.5]]])
    """

    def branches(self, num_classes):
        """Channels of a cell, one entry a tower of the head.

        Args:
            num_classes: Positive integer C.

        Returns:
            List of `(channels, bias)`: the number of channels of the branch, and the float with
            which their biases start.
        """
        raise NotImplementedError

    def decode(self, outputs, centers, strides):
        """Boxes and class scores.

        Args:
            outputs: Float tensor `(B, A, channels)`.
            centers: Float tensor `(B, A, 2)` in pixels.
            strides: Float tensor `(B, A, 1)` in pixels.

        Returns:
            Tuple `(boxes, scores)`: float32 `(B, P, 4)`, not clipped to the image, and
            `(B, P, C)` in `[0, 1]`; P is A times the boxes of a cell.
        """
        raise NotImplementedError

    def loss(self, outputs, centers, strides, boxes, labels):
        """Loss of each image.

        Args:
            outputs: Float tensor `(B, A, channels)`.
            centers: Float tensor `(B, A, 2)` in pixels.
            strides: Float tensor `(B, A, 1)` in pixels.
            boxes: Float tensor `(B, N, 4)`, the ground truth.
            labels: Integer tensor `(B, N)`; −1 in padded rows.

        Returns:
            Float32 tensor `(B,)`, finite with finite gradients.
        """
        raise NotImplementedError

    def _check_channels(self, outputs, used):
        """Raises if no channel is left for a class: the head has another coding, then."""
        if outputs.shape[-1] <= used:
            raise ValueError(
                f"`outputs` must have the {used} channels of {type(self).__name__} and one for "
                f"each class. Received: shape {tuple(outputs.shape)}. `coding` must be the head's."
            )

    def get_config(self):
        """Arguments of the constructor, as JSON."""
        return {}

    @classmethod
    def from_config(cls, config):
        """The object that `get_config` described.

        Args:
            config: The dictionary that `get_config` gave.
        """
        return cls(**config)
