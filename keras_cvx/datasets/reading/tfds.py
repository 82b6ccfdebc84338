"""Data sets of TensorFlow Datasets, their images read when asked for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_cvx.datasets.annotations import Annotations, grouped
from keras_cvx.datasets.dataset import Dataset
from keras_cvx.datasets.faults import DatasetError, Faults, told


def tfds(name, split="train", *, data_dir=None, download=True, on_error="raise"):
    """The images and objects, or masks, of a data set of TensorFlow Datasets.

    What its features are called does not matter: the image is the first of them, the objects are
    those that have a `BBoxFeature` and a `ClassLabel`, and a mask is an image of one channel whose
    name has "mask" in it. `is_crowd`, `is_difficult` and `area` of objects are read too.

    Images are read in any order, which TensorFlow Datasets can do with the formats `array_record`
    and `parquet`; one that is not prepared yet is prepared so.

    Args:
        name: Name of the data set, such as `"voc/2012"` or `"oxford_iiit_pet"`; or a builder.
        split: `"train"`, `"test[:20%]"` or whatever else TensorFlow Datasets understands.
        data_dir: Folder of the prepared data; TensorFlow Datasets' own by default.
        download: Whether the data set is fetched and prepared if it is not there.
        on_error: `"raise"` at the first record that is wrong; `"skip"` leaves such out, warns how
            many they are, and lists them in `skipped`.

    Returns:
        A `Dataset` in the order of the split.

    Raises:
        DatasetError: If the data set has neither boxes nor masks, is prepared in a format that
            cannot be read in any order, or a record is wrong.
        ImportError: If TensorFlow Datasets is missing.

    Example:
        >>> train = tfds("voc/2007", split="train[:80%]")  # doctest: +SKIP
    """
    faults = Faults(on_error)
    builder = _builder(name, data_dir, download)
    title, features = f"{builder.info.full_name}, {split}", builder.info.features
    parts = _parts_of(features, title)
    kept: list[int] = []
    ids: list = []
    rows: list[int] = []
    columns: dict = {name: [] for name in ("boxes", "labels", "is_crowd", "ignored", "areas")}
    pictures = {parts.image, parts.mask}
    for place, example in enumerate(_source(builder, split, pictures, title)):
        found, fault = _objects(example, parts)
        if fault:
            faults.add(f"{title!r}, record {place}: {fault}")
            continue
        for column, values in found.items():
            columns[column] += values
        rows += [len(kept)] * len(found["labels"])
        ids.append(_id_of(example, place))
        kept.append(place)
    faults.warn()
    images = _Pixels(_source(builder, split, {parts.mask}, title), parts.image, kept)
    masks = _Masks(_source(builder, split, {parts.image}, title), parts.mask, kept)
    with_objects = parts.objects is not None
    annotations = Annotations(
        source=title,
        images=images,
        class_names=tuple(parts.names),
        objects=grouped(rows, len(kept), columns, relative=True) if with_objects else None,
        image_ids=ids,
        frame="upright",
        masks=None if parts.mask is None else masks,
    )
    return Dataset(annotations, skipped=faults.messages)


class _Parts(NamedTuple):
    """Names of features: of the image, the mask, the objects, their boxes and their labels."""

    image: str
    mask: str | None
    objects: str | None
    boxes: str | None
    labels: str | None
    names: list


def _library():
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            "Data sets of TensorFlow Datasets need it. Install it with "
            "`pip install keras-cvx[datasets]`."
        ) from error
    return tensorflow_datasets


def _builder(name, data_dir, download):
    library = _library()
    if not isinstance(name, str):
        return name
    # In what it is prepared if it is not there.
    builder = library.builder(name, data_dir=data_dir)
    if download and not builder.is_prepared():
        builder = library.builder(name, data_dir=data_dir, file_format="array_record")
        builder.download_and_prepare()
    return builder


def _parts_of(features, title):
    library = _library()
    image = mask = objects = boxes = labels = None
    names: list = []
    for name, feature in features.items():
        if isinstance(feature, library.features.Image):
            if "mask" in name and feature.shape[-1] == 1:
                mask = mask or name
            else:
                image = image or name
        inner = getattr(feature, "feature", None)
        if isinstance(inner, library.features.FeaturesDict) and objects is None:
            kinds = {type(part): key for key, part in reversed(inner.items())}
            if {library.features.BBoxFeature, library.features.ClassLabel} <= set(kinds):
                objects, boxes = name, kinds[library.features.BBoxFeature]
                labels = kinds[library.features.ClassLabel]
                names = inner[labels].names
    if image is None or (objects is None and mask is None):
        raise DatasetError(
            f"{title!r} must have an image, and objects with boxes and class labels or a mask. "
            f"Received: the features {told(sorted(features))}"
        )
    return _Parts(image, mask, objects, boxes, labels, names)


def _source(builder, split, skipped, title):
    """The records of a split, decoded when asked for, but for what is skipped."""
    library = _library()
    decoders = {name: library.decode.SkipDecoding() for name in skipped if name is not None}
    try:
        return builder.as_data_source(split=split, decoders=decoders)
    except NotImplementedError as error:
        raise DatasetError(
            f"{title!r} must be prepared in a format that is read in any order. Received: "
            f"{builder.info.file_format.value!r}. Prepare it anew in another `data_dir`: "
            '`builder(name, data_dir=..., file_format="array_record").download_and_prepare()`.'
        ) from error
    # Of a split that is none, or without a record.
    except (ValueError, KeyError) as error:
        raise DatasetError(f"{title!r} must be a split with records. ({error})") from error


def _objects(example, parts):
    """Columns of an example's objects, and what is wrong with them or None."""
    given = {} if parts.objects is None else example[parts.objects]
    rows = np.reshape(given.get(parts.boxes, ()), (-1, 4)).astype("float64")
    labels = np.reshape(given.get(parts.labels, ()), -1).astype("int64")
    flags = {
        "is_crowd": np.reshape(given.get("is_crowd", np.zeros(len(labels))), -1) != 0,
        "ignored": np.reshape(given.get("is_difficult", np.zeros(len(labels))), -1) != 0,
        "areas": np.reshape(given.get("area", np.full(len(labels), np.nan)), -1),
    }
    wrong = ~(np.isfinite(rows).all(-1) & (rows[:, :2] <= rows[:, 2:]).all(-1))
    fault = None
    if wrong.any():
        fault = (
            "boxes must be y0, x0, y1, x1 as fractions, finite, the first two no more than the "
            f"last. Received: {rows[wrong][0].tolist()}"
        )
    elif ((labels < 0) | (labels >= len(parts.names))).any():
        fault = f"labels must be in [0, {len(parts.names)}). Received: {labels.tolist()}"
    columns = {"boxes": rows[:, [1, 0, 3, 2]], "labels": labels, **flags}
    return {name: values.tolist() for name, values in columns.items()}, fault


def _id_of(example, place):
    """What an example calls itself, or its place."""
    for name in ("image/id", "image_id", "id", "image/filename", "file_name"):
        value = example.get(name)
        if isinstance(value, (bytes, str)):
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if isinstance(value, (int, np.integer)):
            return int(value)
    return place


class _Pixels(Sequence):
    """Images of some records, RGB."""

    def __init__(self, source, name, places):
        self._source, self._name, self._places = source, name, places

    def __len__(self):
        return len(self._places)

    def __getitem__(self, index):
        pixels = np.asarray(self._source[self._places[index]][self._name], "uint8")
        # Grey ones have one channel, some have transparency.
        return np.ascontiguousarray(np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3)))


class _Masks(_Pixels):
    def __getitem__(self, index):
        return np.asarray(self._source[self._places[index]][self._name])[..., 0]
