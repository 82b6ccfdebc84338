"""A colour for each of any number of classes."""

import functools

import numpy as np

# Ten colours, none of them grey, that stay apart under each kind of colour blindness: in Oklab two
# differ by 0.14 at least, whatever the eye, as the test computes. In `PALETTE` it is 0.06, and the
# greys in it would be lost on a grey image.
FIRST = (
    "#f09600", "#962de1", "#009696", "#f00000", "#f0e10f",
    "#1e4b87", "#0fd2a5", "#87003c", "#c396ff", "#96ffd2",
)  # fmt: skip
_STEPS = 16  # of each primary, in the colours that are chosen from
_LEAST_CHROMA, _LIGHTNESS = 0.06, (0.4, 0.93)


@functools.cache
def class_colours(count):
    """Colours by class. A class has the same, however many there are.

    The first ten are chosen by hand. Each further one is that of a coarse grid, without the greys,
    which is farthest from all before it.

    Args:
        count: Integer.

    Returns:
        uint8 array `(count, 3)`, not to be changed.
    """
    colours = [tuple(bytes.fromhex(colour[1:])) for colour in FIRST[:count]]
    if count > len(FIRST):
        steps = np.linspace(0, 255, _STEPS).round()
        others = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
        places = oklab(others)
        dark, light = _LIGHTNESS
        chosen = np.hypot(places[:, 1], places[:, 2]) >= _LEAST_CHROMA
        chosen &= (places[:, 0] >= dark) & (places[:, 0] <= light)
        others, places = others[chosen], places[chosen]
        distances = np.linalg.norm(places[:, None] - oklab(np.array(colours)), axis=-1).min(-1)
        for _ in range(count - len(FIRST)):
            best = distances.argmax()
            colours.append(tuple(others[best]))
            distances = np.minimum(distances, np.linalg.norm(places - places[best], axis=-1))
    result = np.array(colours, "uint8").reshape(-1, 3)
    result.flags.writeable = False
    return result


def oklab(colours):
    """Colours in Oklab, in which the distance of two is that to the eye.

    Args:
        colours: Array `(..., 3)`, sRGB from 0 to 255.

    Returns:
        Float array `(..., 3)`: lightness, and two axes of the hue.

    Reference:
        [Ottosson, A perceptual color space for image processing](
        https://bottosson.github.io/posts/oklab/), 2020.
    """
    share = np.asarray(colours) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    cones = np.cbrt(
        linear
        @ [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return cones @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )
