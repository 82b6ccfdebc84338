import numpy as np
import pytest
from keras import ops

from keras_cvx.ops import attach_cells, cell_centers, detach_cells, fit_extent, image_size


def test_no_cells():
    assert cell_centers(0, 3, 8).shape == (0, 3)


@pytest.mark.parametrize(("height", "width", "stride"), [(3, 5, 4), (1, 1, 32), (2, 7, 16)])
def test_centres_tile_the_image(height, width, stride):
    cells = ops.convert_to_numpy(cell_centers(height, width, stride))
    painted = np.zeros((height * stride, width * stride), int)
    for x, y, size in cells:
        half = size / 2
        painted[int(y - half) : int(y + half), int(x - half) : int(x + half)] += 1
    assert np.all(painted == 1)


def test_symbolic_sides_give_the_same(compiled):
    """A map whose size only the run knows gets the same cells."""

    def of(x):
        return cell_centers(ops.shape(x)[0], ops.shape(x)[1], 8)

    tensor = ops.cast(ops.convert_to_tensor(3), "int32")
    expected = ops.convert_to_numpy(cell_centers(3, 2, 8))
    np.testing.assert_array_equal(ops.convert_to_numpy(cell_centers(tensor, 2, 8)), expected)
    np.testing.assert_array_equal(ops.convert_to_numpy(compiled(of)(ops.zeros((3, 2)))), expected)


def test_predictions_carry_their_cells():
    cells = ops.concatenate([cell_centers(2, 3, 8), cell_centers(1, 2, 16)], axis=0)
    outputs = np.arange(2 * 8 * 5, dtype="float32").reshape(2, 8, 5)
    centers, strides, back = detach_cells(attach_cells(outputs, cells))
    np.testing.assert_array_equal(ops.convert_to_numpy(back), outputs)
    for image in range(2):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(ops.concatenate([centers, strides], -1))[image],
            ops.convert_to_numpy(cells),
        )
    # The larger extent of both levels: 24 by 16 and 32 by 16.
    assert ops.convert_to_numpy(image_size(centers, strides)).tolist() == [[[32, 16]]] * 2


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 3), (1, 2, 3, 8)])
def test_bad_input(shape):
    with pytest.raises(ValueError, match="`predictions` must be"):
        detach_cells(np.zeros(shape))


@pytest.mark.parametrize(("height", "width"), [(3, 4), (2, 6), (5, 1), (4, 7)])
def test_maps_are_cut_or_continued_on_their_far_sides(height, width):
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 2)).astype("float32")
    expected = np.pad(maps, [(0, 0), (0, 2), (0, 3), (0, 0)], mode="edge")[:, :height, :width]
    got = ops.convert_to_numpy(fit_extent(maps, height, width))
    np.testing.assert_array_equal(got, expected)


def test_maps_without_a_cell_cannot_be_continued():
    for shape in ((1, 0, 2, 3), (1, 2, 0, 3)):
        with pytest.raises(ValueError, match=r"`maps` must have at least one row .* pad it"):
            fit_extent(np.zeros(shape), 2, 2)
