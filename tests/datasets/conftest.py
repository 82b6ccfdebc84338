import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from keras_cvx.datasets import Dataset
from keras_cvx.datasets.annotations import Annotations, Paths, grouped
from keras_cvx.datasets.pixels.orientation import ORIENTATIONS, upright_shape
from keras_cvx.datasets.pixels.rasterizing import counts_of_mask
from keras_cvx.datasets.pixels.regions import RegionsBuilder

NAMES = ("one.png", "two words.png", "drei ü & <4>.png", "四.jpg", "five.6.png")
CLASSES = ("car", "Straßenbahn 5", "<&>'\"木")


@pytest.fixture(scope="session")
def random_data():
    """Function `(draw, folder, regions) -> Dataset` of images in the folder, written there.

    Images may be turned (EXIF), annotations of the stored or the upright image, in pixels or
    fractions. `regions` is what objects have: `"none"`, `"any"` outlines or run-lengths or none,
    `"all"` one of both, `"outline"` exactly one outline.
    """

    def make(draw, folder, regions="any"):
        names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
        frame, relative = draw(st.sampled_from(["upright", "stored"])), draw(st.booleans())
        rows, builder = [], RegionsBuilder()
        columns = {key: [] for key in ("boxes", "labels", "is_crowd", "ignored", "areas", "ids")}
        for place, name in enumerate(names):
            stored = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
            orientation = draw(st.sampled_from(ORIENTATIONS))
            write_image(folder / name, stored, orientation, value=40 * place)
            size = stored if frame == "stored" else upright_shape(stored, orientation)
            turned = frame == "stored" and orientation > 1
            for _ in range(draw(st.integers(0, 3))):
                rows.append(place)
                columns["boxes"].append(draw(boxes_of(size, relative)))
                columns["labels"].append(draw(st.integers(0, len(CLASSES) - 1)))
                columns["is_crowd"].append(draw(st.booleans()))
                columns["ignored"].append(draw(st.booleans()))
                columns["areas"].append(draw(st.floats(0, 150) | st.just(np.nan)))
                columns["ids"].append(len(rows) * 5)
                builder.add(*draw(regions_of(size, relative, turned, regions)))
        data = Annotations(
            source="random",
            images=Paths(folder, names),
            class_names=CLASSES,
            objects=grouped(rows, len(names), columns, builder, relative=relative),
            image_ids=draw(st.sampled_from([None, list(range(7, 7 + len(names))), names])),
            frame=frame,
            category_ids=draw(st.sampled_from([None, (3, 7, 90)])),
        )
        return Dataset(data)

    return make


def write_image(path, size, orientation, value):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.full((*size, 3), value, "uint8")
    Image.fromarray(pixels).save(path, exif=exif)


def boxes_of(size, relative):
    """Of any place and size, also outside of the image and without area."""
    low, high = (-0.25, 1.25) if relative else (-3, 15)
    number = st.floats(low, high) | st.integers(0, 1 if relative else min(size))
    return st.lists(number, min_size=4, max_size=4).map(
        lambda x: [min(x[0], x[2]), min(x[1], x[3]), max(x[0], x[2]), max(x[1], x[3])]
    )


@st.composite
def regions_of(draw, size, relative, turned, kinds):
    """What `RegionsBuilder.add` takes."""
    height, width = size
    known = {"none": ["none"], "outline": ["one"], "all": ["one", "two", "counts"]}
    kind = draw(st.sampled_from(known.get(kinds, ["none", "one", "two", "counts"])))
    if kind == "none":
        return (), ()
    if kind == "counts":
        random = np.random.default_rng(draw(st.integers(0, 2**32)))
        return (), counts_of_mask(random.random(size) < 0.5).tolist()
    outlines = []
    for _ in range(1 if kind == "one" else 2):
        if turned:
            # What pycocotools draws of others is not the same in every direction.
            x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
            x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
            points = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
        else:
            point = st.tuples(st.floats(-1, width + 1), st.floats(-1, height + 1))
            points = draw(st.lists(point, min_size=3, max_size=5))
        outlines.append((np.array(points) / ((width, height) if relative else 1)).ravel().tolist())
    return outlines, ()


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """Seven dark images of several sizes and formats, with as many bright boxes as their place % 3.

    Their labels are their places, and each box is as bright as 60 more than ten times its place.
    """
    folder = tmp_path_factory.mktemp("photographs")
    random, names, rows, boxes, labels, sizes = np.random.default_rng(3), [], [], [], [], []
    for place in range(7):
        height, width = random.integers(20, 40, 2).tolist()
        pixels = np.zeros((height, width, 3), "uint8")
        for row in range(place % 3):
            x0, y0 = 2 + 9 * row, 3
            pixels[y0 : y0 + 6, x0 : x0 + 7] = 60 + 10 * place
            rows.append(place)
            boxes.append([x0, y0, x0 + 7, y0 + 6])
            labels.append(place)
        names.append(f"{place}.{'jpg' if place % 2 else 'png'}")
        # At this quality without subsampling, flat areas stay as they are.
        Image.fromarray(pixels).save(folder / names[-1], quality=100, subsampling=0)
        sizes.append((height, width))
    objects = grouped(rows, 7, {"boxes": boxes, "labels": labels})
    return Dataset(
        Annotations(
            source="photographs",
            images=Paths(folder, names),
            class_names=tuple("abcdefg"),
            objects=objects,
            sizes=np.array(sizes, "int32"),
        )
    )
