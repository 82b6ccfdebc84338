import numpy as np
import pytest

CLASSES = 4


@pytest.fixture(scope="session")
def segmentation():
    """Function `seed -> (ids, probabilities, logits)` of three images of 5 × 6 pixels."""

    def of(seed, images=3):
        rng = np.random.default_rng(seed)
        ids = rng.integers(0, CLASSES, (images, 5, 6)).astype("int32")
        ids[0][ids[0] == 1] = 0  # a class may be absent
        logits = rng.normal(0, 1.5, (*ids.shape, CLASSES)) + 1.5 * np.eye(CLASSES)[ids]
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return ids, probabilities.astype("float32"), logits.astype("float32")

    return of
