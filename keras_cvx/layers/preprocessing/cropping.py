"""What layers have in common that cut off parts of an image, and of the boxes in it."""

from keras_cvx.layers.preprocessing.geometric import GeometricLayer
from keras_cvx.ops.boxes import area, clip


class CroppingLayer(GeometricLayer):
    """A `GeometricLayer` that clips boxes to its result, and drops those of which little is left.

    Args:
        height: Positive integer, the height of the result in pixels.
        width: Positive integer, its width.
        min_visible: Float in `[0, 1]`, the least share of its area that a box must keep. One that
            keeps nothing never stays.
        **kwargs: As for `GeometricLayer`.
    """

    def __init__(self, height, width, *, min_visible=0.0, **kwargs):
        super().__init__(height, width, **kwargs)
        if not 0 <= min_visible <= 1:
            raise ValueError(
                f"`min_visible` must be in [0, 1]. Received: min_visible={min_visible}"
            )
        self.min_visible = min_visible

    def keep(self, boxes):
        clipped = clip(boxes, self.height, self.width)
        whole, left = area(boxes), area(clipped)
        return clipped, (left > 0) & (left >= self.min_visible * whole)

    def get_config(self):
        return {**super().get_config(), "min_visible": self.min_visible}
