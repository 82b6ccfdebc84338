"""Detections of a resized image, moved back to the image it was made from."""

import keras

from keras_cvx import plugins
from keras_cvx.geometry import restore_boxes
from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import check_record
from keras_cvx.ops.boxes import check_format, convert


@plugins.register("RestoreDetections", kind="layer")
class RestoreDetections(keras.layers.Layer):
    """Moves the boxes of detections back into each original image, and clips them to it.

    The last layer of a model that begins with `ResizeWithPad`: what comes out is in pixels of the
    images that went in.

    Args:
        bounding_box_format: Format of the boxes, as Keras names it, before and after.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        detections: Dictionary with `"boxes"` `(B, K, 4)` and `"labels"` `(B, K)`, −1 in padded
            rows; all else in it passes through.
        geometry: Record of `(B, 2)`, as the preprocessing layers give it.

    Returns:
        The dictionary, its boxes float32 in the frame of the original images; −1 in padded rows.
        A box that lies wholly in the padding comes back without an area.

    Raises:
        ValueError: If the format is unknown, or the record is not one or of another batch.

    Example:
        >>> import numpy as np
        >>> from keras_cvx.geometry import resize_with_pad
        >>> record = resize_with_pad(np.float32([[50, 100]]), (64, 64))
        >>> boxes, labels = np.float32([[[0, 8, 32, 32]]]), np.int32([[3]])
        >>> found = RestoreDetections()({"boxes": boxes, "labels": labels}, record)
        >>> found["boxes"].tolist()
        [[[0.0, 0.0, 50.0, 25.0]]]
    """

    def __init__(self, bounding_box_format="xyxy", **kwargs):
        super().__init__(**kwargs)
        self.bounding_box_format = check_format(bounding_box_format)
        # Coordinates in half precision would be off by pixels.
        self.autocast = False
        self.built = True

    def __call__(self, detections, geometry, *args, **kwargs):
        missing = {"boxes", "labels"} - set(detections)
        if missing:
            raise ValueError(
                "`detections` must be a dictionary with the keys 'boxes' and 'labels'. "
                f"Received: {sorted(map(str, detections))}"
            )
        check_record(geometry)
        if any(map(_arrays.is_of_keras, (detections["boxes"], *geometry.values()))):
            return super().__call__(detections, geometry, *args, **kwargs)
        # On the host, as it came, and with no tensor of the backend.
        return self.call(detections, geometry)

    def call(self, detections, geometry):
        xp = _arrays.namespace(detections["boxes"], *geometry.values())
        (target, source) = (
            {"height": geometry[size][..., :1], "width": geometry[size][..., 1:]}
            for size in ("target_size", "source_size")
        )
        boxes = convert(detections["boxes"], self.bounding_box_format, "xyxy", **target)
        boxes = convert(restore_boxes(boxes, geometry), "xyxy", self.bounding_box_format, **source)
        found = xp.expand_dims(detections["labels"] >= 0, -1)
        return {**detections, "boxes": xp.where(found, boxes, -xp.ones_like(boxes))}

    def get_config(self):
        return {**super().get_config(), "bounding_box_format": self.bounding_box_format}
