"""The images in folders, and how annotations name them."""

import os
import re

from keras_cvx.datasets.faults import told

SUFFIXES = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
_DRIVE = re.compile("[A-Za-z]:")


def is_image_name(name):
    """Whether a file of this name is an image, and none that systems hide.

    Args:
        name: String without folders.
    """
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def image_names(folder):
    """Names of the image files in a folder, sorted; other files and folders are left aside.

    Args:
        folder: Path of one that is there.
    """
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if is_image_name(entry.name) and entry.is_file()
        )


def name_below(folder, name, start=None):
    """A file's name below a folder, or None if it leaves the folder.

    Links in the folder are the user's own, and followed.

    Args:
        folder: Path.
        name: String, a path that is absolute or relative, written on whatever system.
        start: Folder that a relative one begins at; `folder` for None.

    Returns:
        String without `..` in it.

    Example:
        >>> name_below("data", "./cats/1.jpg"), name_below("data", "../1.jpg")
        ('cats/1.jpg', None)
    """
    folder = os.path.abspath(folder)
    name = name.replace("\\", "/")
    place = os.path.normpath(os.path.join(folder if start is None else start, name))
    inside = os.path.join(folder, "")
    if _DRIVE.match(name) and os.sep == "/":
        return None
    # A folder is no file.
    below = place.startswith(inside) and "\0" not in name and not name.endswith("/")
    return place[len(inside) :] if below else None


class ImageFolder:
    """Finds the images in a folder by what annotations call them.

    Args:
        folder: Path of one that is there.
    """

    def __init__(self, folder):
        self.folder = folder
        self._by_stem: dict = {}

    def find(self, name):
        """The name below the folder of an image that is there.

        Args:
            name: String, a path with or without the suffix.

        Raises:
            ValueError: If the path leaves the folder, or there is no such image, or more than one.
        """
        below = name_below(self.folder, name)
        if below is None:
            raise ValueError(
                f"an image must be in {str(self.folder)!r}, and its path may not lead out of this "
                f"folder. Received: {told(name)}"
            )
        if os.path.isfile(os.path.join(self.folder, below)):
            return below
        found = self.with_stem(below)
        if len(found) != 1:
            raise ValueError(
                f"there must be one image {told(name)} in {str(self.folder)!r}. Received: "
                f"{' and '.join(found) or 'none'}"
            )
        return found[0]

    def with_stem(self, stem):
        """Names below the folder of the images that are called so before their suffix.

        Args:
            stem: String, relative.
        """
        parent, name = os.path.split(stem)
        if parent not in self._by_stem:
            self._by_stem[parent] = self._listed(parent)
        return self._by_stem[parent].get(name, [])

    def _listed(self, parent):
        folder = os.path.join(self.folder, parent)
        named: dict[str, list[str]] = {}
        for name in image_names(folder) if os.path.isdir(folder) else ():
            named.setdefault(os.path.splitext(name)[0], []).append(os.path.join(parent, name))
        return named
