import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.layers import MixUp
from keras_cvx.layers.preprocessing.mix_up import symmetric_beta

HEIGHT, WIDTH = 20, 28
RNG = np.random.default_rng(0)
NUMBERS = RNG.random((5, 5), "float32")


def layer(**options):
    return MixUp(**{"seed": 5, "data_format": "channels_last", **options})


def looped(sample, plan):
    """By a loop: images in double precision, rows one after another, the mask of the larger share.

    Of labels and images of integers, rounding is left to the caller.
    """
    names = ("images", "segmentation_masks", "labels", "boxes", "numbers")
    mixed = {name: [] for name in names}
    boxes, numbers = (sample["bounding_boxes"][name] for name in ("boxes", "labels"))
    for (i, j), (share, rest) in zip(plan["sources"], plan["shares"].astype(float), strict=True):
        for name in ("images", "labels"):
            one, other = (sample[name][k].astype("float64") for k in (i, j))
            mixed[name].append(share * one + rest * other)
        mixed["segmentation_masks"].append(sample["segmentation_masks"][i if share >= rest else j])
        mixed["boxes"].append([*boxes[i], *boxes[j]])
        mixed["numbers"].append([*numbers[i], *numbers[j]])
    return {name: np.array(parts) for name, parts in mixed.items()}


@pytest.mark.parametrize(("batch", "rows"), [(0, 3), (2, 0)])
def test_empty(library, with_numbers, painted, batch, rows):
    mix = with_numbers(layer(), NUMBERS[:batch])
    mixed = mix(keras.tree.map_structure(library, painted(batch, (8, 12), rows)))
    assert tuple(mixed["images"].shape) == (batch, 8, 12, 3)
    assert tuple(mixed["segmentation_masks"].shape) == (batch, 8, 12)
    assert tuple(mixed["bounding_boxes"]["boxes"].shape) == (batch, 2 * rows, 4)
    assert tuple(mixed["bounding_boxes"]["labels"].shape) == (batch, 2 * rows)


@pytest.mark.parametrize(("batch", "dtype"), [(1, "float32"), (5, "uint8"), (5, "float32")])
def test_all_kinds_blend_alike(library, with_numbers, to_numpy, painted, batch, dtype):
    sample = painted(batch, (HEIGHT, WIDTH), seed=3)
    sample["images"] = sample["images"].astype(dtype)
    sample["labels"] = np.eye(batch, 3, dtype="float32")
    mix = layer()
    plan = mix.plan(NUMBERS[:batch], (HEIGHT, WIDTH))
    expected = looped(sample, plan)
    given = keras.tree.map_structure(library, sample)
    mixed = with_numbers(mix, NUMBERS[:batch])(given)
    assert type(mixed["images"]) is type(given["images"])
    mixed = keras.tree.map_structure(to_numpy, mixed)
    assert mixed["images"].dtype == dtype
    # What is half a grey level off may be rounded either way.
    atol = 0.5 + 1e-4 if dtype == "uint8" else 1e-4
    np.testing.assert_allclose(mixed["images"], expected["images"], rtol=0, atol=atol)
    np.testing.assert_allclose(mixed["labels"], expected["labels"], atol=1e-6)
    np.testing.assert_array_equal(mixed["segmentation_masks"], expected["segmentation_masks"])
    np.testing.assert_array_equal(mixed["bounding_boxes"]["boxes"], expected["boxes"])
    np.testing.assert_array_equal(mixed["bounding_boxes"]["labels"], expected["numbers"])


@settings(max_examples=50, deadline=None)
@given(batch=st.integers(2, 5), rows=st.integers(0, 6), seed=st.integers(0, 2**20))
def test_every_block_shines_through_in_its_box(painted, batch, rows, seed):
    """No box is lost or added, and what shows in it is the share of its block."""
    sample = painted(batch, (HEIGHT, WIDTH), rows, seed)
    images = sample["images"].astype("float32")
    mix = layer(seed=seed)
    # One for each image, so that what is mixed can be told from the sample alone.
    one_hot = np.eye(batch)
    mixed = mix({**sample, "images": images, "labels": one_hot})
    masks = sample["segmentation_masks"]
    for i, (image, shares) in enumerate(zip(mixed["images"], mixed["labels"], strict=True)):
        present = [i, *np.flatnonzero((shares > 0) & (np.arange(batch) != i))]
        assert len(present) == 2
        labels = mixed["bounding_boxes"]["labels"][i]
        expected = sample["bounding_boxes"]["labels"][present]
        assert labels.tolist() == expected.ravel().tolist()
        for label, (x0, y0, x1, y1) in zip(
            labels, mixed["bounding_boxes"]["boxes"][i], strict=True
        ):
            if label < 0:
                assert (x0, y0, x1, y1) == (-1, -1, -1, -1)
                continue
            source = next(k for k in present if (masks[k] == label).any())
            [other] = [k for k in present if k != source]
            inside = np.s_[int(y0) : int(y1), int(x0) : int(x1)]
            assert (masks[source] == label).sum() == masks[source][inside].size
            shown = image[inside][..., 0] - shares[other] * masks[other][inside]
            np.testing.assert_allclose(shown, shares[source] * label, rtol=0, atol=1e-3)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 1.5, 8.0])
def test_shares_are_of_the_beta_distribution(library, to_numpy, alpha):
    """Against NumPy's generator: mean, variance, and quantiles."""
    numbers = np.random.default_rng(1).random((40000, 4), "float32")
    shares = to_numpy(symmetric_beta(library(numbers), alpha)).astype("float64")
    assert shares.min() >= 0
    assert shares.max() <= 1
    exact = 1 / (4 * (2 * alpha + 1))
    np.testing.assert_allclose(shares.mean(), 0.5, atol=5 * np.sqrt(exact / len(shares)))
    np.testing.assert_allclose(shares.var(), exact, rtol=0.03)
    others = np.random.default_rng(2).beta(alpha, alpha, 400000)
    steps = np.linspace(0.05, 0.95, 19)
    # Levels, not values: where the density is small, quantiles are far apart.
    levels = np.searchsorted(np.sort(shares), np.quantile(others, steps)) / len(shares)
    np.testing.assert_allclose(levels, steps, atol=0.015)


@pytest.mark.parametrize("alpha", [1e-3, 0.2, 1.5, 1e4])
def test_the_extremes_give_shares_too(library, to_numpy, alpha):
    """The least and the greatest numbers that a generator gives."""
    edges = [0.0, 0.5, np.nextafter(np.float32(1), np.float32(0))]
    numbers = np.stack(np.meshgrid(*[edges] * 4), -1).reshape(-1, 4).astype("float32")
    shares = to_numpy(symmetric_beta(library(numbers), alpha))
    assert ((shares >= 0) & (shares <= 1)).all()
    # Of two numbers that change places, the shares do.
    swapped = to_numpy(symmetric_beta(library(numbers[:, [0, 1, 3, 2]]), alpha))
    middle = numbers[:, 1] == 0.5
    assert middle.any()
    even = numbers[:, 2] == numbers[:, 3]
    np.testing.assert_array_equal(shares[even], swapped[even])


def test_the_mask_is_that_of_the_larger_share():
    masks = np.zeros((2, 4, 4), "int32") + np.int32([7, 9])[:, None, None]
    images = np.zeros((2, 4, 4, 1)) + np.array([0.0, 1.0])[:, None, None, None]
    seen = set()
    mix = layer()
    for _ in range(20):
        mixed = mix({"images": images, "segmentation_masks": masks})
        for image, mask in zip(mixed["images"], mixed["segmentation_masks"], strict=True):
            assert (mask == (9 if image[0, 0, 0] > 0.5 else 7)).all()
            seen.add((int(mask[0, 0]), bool(image[0, 0, 0] > 0.5)))
    assert seen == {(7, False), (9, True)}


def test_the_gradient_is_the_share(gradient, jitted):
    mix = layer()
    mix.build()
    mix.uniform = lambda like, shape: ops.convert_to_tensor(NUMBERS)
    images = RNG.random((5, 4, 6, 1)).astype("float32")
    _, slope = gradient(jitted(lambda x: ops.sum(mix(x))), images)
    plan = mix.plan(NUMBERS, (4, 6))
    shown = np.bincount(plan["sources"].ravel(), plan["shares"].ravel(), minlength=5)
    expected = np.broadcast_to(shown[:, None, None, None], slope.shape)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)  # sums of float32
    assert not mix.trainable_variables


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf"), "1"])
def test_bad_alpha(alpha):
    with pytest.raises(ValueError, match="`alpha` must be"):
        MixUp(alpha=alpha)
