"""Batches of a data set as a `tf.data.Dataset`."""

import functools
import itertools
import os
import struct

import numpy as np

from keras_cvx.datasets.pipelines.batches import BOXES, MASKS, padded, several_sizes
from keras_cvx.datasets.pixels.mask_files import opened_file
from keras_cvx.datasets.record import Record
from keras_cvx.ops.pictures import orientation_of

_TOGETHER = 32  # records whose annotations are fetched by one call of Python
_GRAPH_MODES = {"JPEG": ("RGB", "L"), "PNG": ("RGB", "L", "P", "RGBA")}


def tf_data(batches, *, deterministic=True):
    """The batches of one epoch; each iteration is of the next epoch.

    TensorFlow reads and decodes what it decodes as Pillow does; all else, and what it cannot
    decode, is read by the `Record`, whose errors name the file.

    Args:
        batches: `Batches`.
        deterministic: Whether the order is kept.

    Returns:
        A `tf.data.Dataset`.

    Raises:
        ImportError: If TensorFlow is missing.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            "`to_tf_data` needs TensorFlow. Install it with `pip install tensorflow`, or use "
            "`to_pydataset`, which needs none."
        ) from error

    epochs = itertools.count()
    many = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": deterministic}

    def order():
        yield batches.order(next(epochs))

    rows = tf.data.Dataset.from_generator(order, output_signature=tf.TensorSpec((None,), tf.int64))
    rows = rows.unbatch().batch(_TOGETHER)
    data = rows.map(functools.partial(_described, tf, batches), **many).unbatch()
    data = data.map(functools.partial(_sample, tf, batches), **many)
    data = _batched(tf, batches, data)
    if batches.augment:
        # One after the other: seeded layers then draw the same numbers each time.
        one_by_one = {} if deterministic else many
        data = data.map(lambda batch: batches.cleaned(batches.augmented(batch)), **one_by_one)
    data = data.map(batches.as_pair)
    data = data.apply(tf.data.experimental.assert_cardinality(len(batches)))
    return data.prefetch(tf.data.AUTOTUNE)


def _described(tf, batches, rows):
    """What is known of some images before they are decoded."""
    with_boxes = BOXES in batches.targets

    def describe(rows):
        records = [Record(batches.annotations, row) for row in rows.tolist()]
        paths = np.array([_path_in_graph(record) for record in records], object)
        if not with_boxes:
            return (paths,)
        objects = padded([record.learnable_objects() for record in records])
        return paths, objects["boxes"], objects["labels"]

    types = (tf.string, tf.float32, tf.int32) if with_boxes else (tf.string,)
    path, *objects = tf.numpy_function(describe, [rows], types)
    known = {"row": rows, "path": tf.ensure_shape(path, (None,))}
    if with_boxes:
        known["boxes"] = tf.ensure_shape(objects[0], (None, None, 4))
        known["labels"] = tf.ensure_shape(objects[1], (None, None))
    return known


def _path_in_graph(record):
    """The path of an image that TensorFlow decodes as Pillow does; empty for all others."""
    if record.path is None:
        return b""
    if record.plain_size is not None:
        return os.fsencode(record.path)
    try:
        with opened_file(record.path) as opened:
            plain = (
                opened.mode in _GRAPH_MODES.get(opened.format, ())
                and "transparency" not in opened.info
                and orientation_of(opened) == 1
            )
            if plain and opened.format == "PNG":
                plain = not _has_chunks_behind_pixels(record.path.read_bytes())
    # The record says what is wrong with it when its image is read.
    except ValueError:
        return b""
    return os.fsencode(record.path) if plain else b""


def _has_chunks_behind_pixels(png):
    """Whether something comes after the pixels, where EXIF's orientation may stand.

    PNG specification, third edition, section 5.3: length, type, data and checksum of each chunk.
    """
    place, kind, before = 8, b"", b""
    while place + 8 <= len(png) and not (before == b"IDAT" != kind):
        before = kind
        length, kind = struct.unpack_from(">I4s", png, place)
        place += length + 12
    return kind != b"IEND"


def _sample(tf, batches, known):
    """A sample, preprocessed, its boxes padded if their number is known."""
    sample = {"images": _image(tf, batches, known["row"], known["path"])}
    if BOXES in batches.targets:
        count = tf.math.count_nonzero(known["labels"] >= 0)
        sample[BOXES] = {name: known[name][:count] for name in ("boxes", "labels")}
    if MASKS in batches.targets:
        sample[MASKS] = _read(tf, batches, known["row"], "mask", batches.mask_dtype, (None, None))
    sample = batches.preprocessed(sample)
    if BOXES in batches.targets:
        sample[BOXES] = _padded(tf, batches, sample[BOXES])
    return sample


def _image(tf, batches, row, path):
    known = tf.data.Dataset.from_tensors((row, path))
    in_graph = known.map(lambda _, path: _decoded(tf, path))
    by_record = known.map(lambda row, _: _read(tf, batches, row, "image", "uint8", (None, None, 3)))
    # The record is asked only where the graph fails: it takes what Pillow can read all the same,
    # and names the file otherwise.
    return in_graph.ignore_errors().concatenate(by_record).take(1).get_single_element()


def _decoded(tf, path):
    # It decodes PNG as well. As accurate as Pillow, which is not its default everywhere.
    return tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")


def _read(tf, batches, row, name, dtype, shape):
    """What a record has under a name."""

    def read(row):
        return getattr(Record(batches.annotations, int(row)), name).astype(dtype, copy=False)

    return tf.ensure_shape(tf.numpy_function(read, [row], dtype), shape)


def _padded(tf, batches, objects):
    boxes, labels = tf.cast(objects["boxes"], tf.float32), tf.cast(objects["labels"], tf.int32)
    most = batches.max_boxes
    if batches.preprocess:
        present = tf.where(labels >= 0)[:, 0]
        boxes, labels = tf.gather(boxes, present), tf.gather(labels, present)
    if most is not None:
        if batches.may_cut:
            boxes, labels = boxes[:most], labels[:most]
        missing = [[0, most - tf.shape(labels)[0]]]
        boxes = tf.pad(boxes, [*missing, [0, 0]], constant_values=-1.0)
        labels = tf.pad(labels, missing, constant_values=-1)
    return {
        "boxes": tf.ensure_shape(boxes, (most, 4)),
        "labels": tf.ensure_shape(labels, (most,)),
    }


def _batched(tf, batches, data):
    options = {"batch_size": batches.batch_size, "drop_remainder": batches.drop_remainder}
    shapes = tf.nest.map_structure(lambda spec: spec.shape, data.element_spec)
    if all(shape.is_fully_defined() for shape in tf.nest.flatten(shapes)):
        return data.batch(**options)
    if shapes["images"].is_fully_defined():
        return _padded_batch(tf, data, options)
    data = data.map(lambda sample: {**sample, "size": tf.shape(sample["images"])[:2]})
    return _padded_batch(tf, data, options).map(functools.partial(_of_one_size, tf))


def _padded_batch(tf, data, options):
    """Batches of samples of several shapes; only rows of boxes are to be padded."""
    fills = tf.nest.map_structure(lambda spec: tf.zeros((), spec.dtype), data.element_spec)
    if BOXES in fills:
        fills[BOXES] = {name: fill - 1 for name, fill in fills[BOXES].items()}
    return data.padded_batch(padding_values=fills, **options)


def _of_one_size(tf, batch):
    """The batch, or an error if its images had to be padded."""
    sizes = batch.pop("size")
    # A template, for numbers that are known when it runs.
    message = tf.strings.format(several_sizes("{}"), sizes, summarize=-1)
    same = tf.debugging.Assert(tf.reduce_all(sizes == sizes[:1]), [message])
    with tf.control_dependencies([same]):
        return {**batch, "images": tf.identity(batch["images"])}
