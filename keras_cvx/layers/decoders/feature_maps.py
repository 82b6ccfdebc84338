"""What decoders check of the feature maps that they are called on."""

from keras_cvx.ops.arguments import spatial_axes

# Of at least so many cells, fewer than this share are a map of another stride, and not what
# convolutions without padding leave: of the 5 at stride 32 of 160 pixels, 3 with InceptionV3.
_CELLS, _SHARE = 5, 0.6


def checked_levels(features_shape, images_shape, strides, data_format):
    """Shapes of the feature maps: one a stride, of rank 4 and, where sizes are known, of its size.

    A cell more than the image has strides is padding, and a few less are what convolutions without
    padding leave. Double, or half, is a map of another stride, of which every pixel would be at a
    wrong place.

    Args:
        features_shape: List of shapes; of a single map, also its shape.
        images_shape: Shape of rank 4, or None where it is unknown.
        strides: List of integers, in the order of the maps.
        data_format: String, that of maps and images.

    Returns:
        List of tuples.

    Raises:
        ValueError: If they are not.

    Example:
        >>> checked_levels([(1, 4, 6, 32)], (1, 29, 45, 3), [8], "channels_last")
        [(1, 4, 6, 32)]
    """
    one = len(features_shape) == 4 and not hasattr(features_shape[1], "__len__")
    shapes = [tuple(shape) for shape in ([features_shape] if one else features_shape)]
    if len(shapes) != len(strides) or any(len(shape) != 4 for shape in shapes):
        raise ValueError(
            "`features` must be one feature map of rank 4 for each of the strides "
            f"{strides}. Received: shapes {shapes}"
        )
    if images_shape is None:
        return shapes
    if len(images_shape) != 4:
        raise ValueError(f"`images` must be of rank 4. Received: shape {tuple(images_shape)}")
    spatial = spatial_axes(data_format)
    sides = images_shape[spatial]
    for shape, stride in zip(shapes, strides, strict=True):
        for cells, side in zip(shape[spatial], sides, strict=True):
            if None not in (cells, side) and not _fits(cells, side, stride):
                raise ValueError(
                    "`features` must be maps of the strides "
                    f"{strides}: of images of {tuple(sides)} pixels that of stride {stride} has "
                    f"{tuple(side and -(-side // stride) for side in sides)} cells. Received: "
                    f"shape {shape}. Give the decoder the strides of its maps, which "
                    "`keras_cvx.backbones.measure_strides` finds, in their order."
                )
    return shapes


def _fits(cells, side, stride):
    whole = side // stride
    return cells <= -(-side // stride) + 1 and not (whole >= _CELLS and cells < _SHARE * whole)
