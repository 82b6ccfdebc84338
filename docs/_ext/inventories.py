"""The neighbours' inventories, of those that can be had: without a network there are no links."""

import urllib.request
from concurrent.futures import ThreadPoolExecutor

# Keras publishes none.
NEIGHBOURS = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
    "jax": "https://docs.jax.dev/en/latest/",
    "torch": "https://docs.pytorch.org/docs/stable/",
    "supervision": "https://supervision.roboflow.com/latest/",
}
TENSORFLOW = (
    "https://www.tensorflow.org/api_docs/python",
    "https://github.com/GPflow/tensorflow-intersphinx/raw/master/tf2_py_objects.inv",
)
SECONDS = 5


def mapping(folder):
    """`intersphinx_mapping` of the inventories in a folder, once what is missing was asked for.

    Args:
        folder: Path, where they are kept from one build to the next.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = {name: (root, f"{root}objects.inv") for name, root in NEIGHBOURS.items()}
    places["tensorflow"] = TENSORFLOW
    with ThreadPoolExecutor(len(places)) as pool:
        present = list(
            pool.map(lambda item: _fetched(folder / f"{item[0]}.inv", *item[1]), places.items())
        )
    return {
        name: (root, str(folder / f"{name}.inv"))
        for (name, (root, _)), there in zip(places.items(), present, strict=True)
        if there
    }


def _fetched(file, root, address):
    if not file.exists():
        try:
            with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310
                content = answer.read()
        except OSError:
            return False
        if not content.startswith(b"# Sphinx inventory"):
            return False
        file.write_bytes(content)
    return True
