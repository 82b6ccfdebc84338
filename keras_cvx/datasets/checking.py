"""What is wrong with a data set, found by a look at every image."""

import collections
import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from keras_cvx.datasets.faults import DatasetError, MissingMaskError
from keras_cvx.datasets.record import IGNORED_ID

# How far a box may leave its image, in pixels: what rounding makes.
_SLACK = 1.0
_EXAMPLES = 5
_LONG = 500  # images; a scan of more shows how far it is
_BLOCK = 256  # images whose results are held at once


@dataclasses.dataclass
class Finding:
    """Something that was found in a data set.

    Attributes:
        what: String, such as `"boxes outside of their image"`.
        is_error: Whether it is wrong, and not only worth knowing.
        count: Integer.
        examples: List of strings, the first of them.
    """

    what: str
    is_error: bool
    count: int = 0
    examples: list = dataclasses.field(default_factory=list)

    def add(self, example, count=1):
        """Counts what was found, once or more, and keeps it if it is among the first."""
        self.count += count
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)

    def __str__(self):
        more = ", ..." if self.count > len(self.examples) else ""
        sign = "error" if self.is_error else "note"
        return f"{sign}: {self.count} {self.what}: {', '.join(self.examples)}{more}"


@dataclasses.dataclass
class Report:
    """What a check has found.

    Attributes:
        num_images: Integer, of all parts.
        label_counts: Dict from class names to numbers of objects; of pixels, where there are masks
            alone.
        findings: List of `Finding`s that occurred.
    """

    num_images: int
    label_counts: dict
    findings: list

    @property
    def ok(self):
        """Whether nothing is wrong."""
        return not any(finding.is_error for finding in self.findings)

    def __str__(self):
        total = sum(self.label_counts.values())
        lines = [f"{self.num_images} images, {total} labels in {len(self.label_counts)} classes"]
        width = max((len(str(name)) for name in self.label_counts), default=0)
        lines += [f"  {name!s:<{width}}  {count}" for name, count in self.label_counts.items()]
        lines += [str(finding) for finding in self.findings] or ["nothing wrong was found"]
        return "\n".join(lines)


def check(parts, *, progress=True):
    """Looks at every image and annotation of data sets that are the parts of one.

    Args:
        parts: Sequence of `Dataset`s, such as those to train and to validate with.
        progress: Whether a bar is shown while many images are scanned.

    Returns:
        `Report`.
    """
    findings = {
        what: Finding(what, is_error)
        for what, is_error in (
            ("records that were skipped", True),
            ("images that cannot be read", True),
            ("images of another size than their annotations are for", True),
            ("masks that cannot be read", True),
            ("images without mask", False),
            ("ids in masks that are no class", True),
            ("boxes outside of their image", True),
            ("boxes without area", True),
            ("objects that are there twice", True),
            ("images that are there twice", True),
            ("images that are in two parts", True),
            ("images without objects", False),
            ("classes without objects", False),
            ("names of several classes", False),
            ("turned images whose annotations may be of either frame", False),
        )
    }
    counts = collections.Counter({name: 0 for part in parts for name in part.class_names})
    total = sum(map(len, parts))
    bar = keras.utils.Progbar(total) if progress and total > _LONG else None
    seen: dict = {}
    # What `split` makes has the faults of the whole, each part.
    for skipped in {id(part.annotations): part.skipped for part in parts}.values():
        for message in skipped:
            findings["records that were skipped"].add(message)
    for number, part in enumerate(parts):
        for outcome in _scanned(part):
            _compare(outcome, number, seen, findings)
            for what, example, count in outcome.found:
                findings[what].add(example, count)
            counts.update(outcome.counts)
            if bar is not None:
                bar.add(1)
    # Counted as one, and learnt as several.
    for part_names in {part.class_names: None for part in parts}:
        for name, times in collections.Counter(part_names).items():
            if times > 1:
                findings["names of several classes"].add(f"{name} of {times}")
    for name, count in counts.items():
        if not count:
            findings["classes without objects"].add(str(name))
    return Report(total, dict(counts), [found for found in findings.values() if found.count])


@dataclasses.dataclass
class _Outcome:
    """What is known of one image: its pixels' digest, what was found, numbers by class."""

    place: str
    digest: bytes | None = None
    found: list = dataclasses.field(default_factory=list)
    counts: dict = dataclasses.field(default_factory=dict)

    def add(self, what, example=None, count=1):
        self.found.append((what, example or self.place, count))


def _scanned(part):
    """The outcomes of all images; several are decoded at once."""
    with ThreadPoolExecutor() as pool:
        for first in range(0, len(part), _BLOCK):
            block = range(first, min(first + _BLOCK, len(part)))
            # Of a record only what was found is kept, and not its pixels.
            yield from pool.map(lambda index: _outcome(part[index], part.annotations), block)


def _outcome(record, annotations):
    outcome = _Outcome(str(record.path or record.image_id))
    try:
        image = record.image
    except DatasetError as error:
        outcome.add("images that cannot be read", str(error))
        return outcome
    content = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    content.update(image.tobytes())
    outcome.digest = content.digest()
    try:
        boxes = record.boxes
    except DatasetError as error:
        outcome.add("images of another size than their annotations are for", str(error))
        return outcome
    if record.frame_is_guessed:
        outcome.add("turned images whose annotations may be of either frame")
    if annotations.objects is not None:
        _check_objects(record, boxes, annotations.class_names, outcome)
    if annotations.masks is not None:
        _check_mask(record, annotations, outcome)
    return outcome


def _check_objects(record, boxes, class_names, outcome):
    if not len(boxes):
        outcome.add("images without objects")
        return
    names = [class_names[label] for label in record.labels.tolist()]
    outcome.counts.update(collections.Counter(names))
    height, width = record.size
    far = [width + _SLACK, height + _SLACK]
    outside = ((boxes < -_SLACK) | (boxes > far * 2)).any(-1)
    empty = (boxes[:, 2:] <= boxes[:, :2]).any(-1)
    rows = np.concatenate([boxes, record.labels[:, None], record.is_crowd[:, None]], axis=1)
    _, first, times = np.unique(rows, axis=0, return_index=True, return_counts=True)
    again = np.zeros(len(boxes), int)
    again[first] = times - 1
    for what, found in (
        ("boxes outside of their image", outside),
        ("boxes without area", empty),
        ("objects that are there twice", again),
    ):
        for row in np.flatnonzero(found):
            # Of fractions, pixels have many decimals.
            told_box = boxes[row].astype("float64").round(2).tolist()
            example = f"{names[row]} {told_box} in {outcome.place}"
            outcome.add(what, example, int(found[row]))


def _check_mask(record, annotations, outcome):
    try:
        ids, counts = np.unique(record.mask, return_counts=True)
    except MissingMaskError:
        outcome.add("images without mask")
        return
    except DatasetError as error:
        outcome.add("masks that cannot be read", str(error))
        return
    names = annotations.mask_class_names
    for value, count in zip(ids.tolist(), counts.tolist(), strict=True):
        known = value < len(names)
        if not known and names and value != IGNORED_ID:
            what = "ids in masks that are no class"
            outcome.add(what, f"{value} ({count} pixels) in {outcome.place}")
        elif annotations.objects is None:
            outcome.counts[names[value] if known else value] = count


def _compare(outcome, part, seen, findings):
    """Takes note of an image that was there before."""
    if outcome.digest is None:
        return
    earlier, place = seen.setdefault(outcome.digest, (part, outcome.place))
    if earlier != part:
        findings["images that are in two parts"].add(f"{outcome.place} as {place}")
    elif place is not outcome.place:
        findings["images that are there twice"].add(f"{outcome.place} as {place}")
