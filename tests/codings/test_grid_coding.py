import pytest
from keras import ops

from keras_cvx.codings import AnchorFreeCoding, GridCoding, YOLOv1Coding

CODINGS = (AnchorFreeCoding(bins=5), YOLOv1Coding(boxes_per_cell=3))


@pytest.mark.parametrize("coding", CODINGS, ids=lambda coding: type(coding).__name__)
def test_a_head_of_another_coding_is_refused(coding):
    """The channels of a head without classes are one too few, whichever call comes first."""
    used = sum(channels for channels, _ in coding.branches(1)) - 1
    cells = ops.ones((1, 6, 2)), ops.ones((1, 6, 1))
    truth = ops.zeros((1, 2, 4)), ops.zeros((1, 2), "int32")
    for call in (
        lambda outputs: coding.decode(outputs, *cells),
        lambda outputs: coding.loss(outputs, *cells, *truth),
    ):
        with pytest.raises(ValueError, match=rf"the {used} channels of {type(coding).__name__}"):
            call(ops.zeros((1, 6, used)))
        call(ops.zeros((1, 6, used + 1)))


def test_a_coding_must_say_what_a_cell_means():
    coding = GridCoding()
    for missing in (
        lambda: coding.branches(2),
        lambda: coding.decode(None, None, None),
        lambda: coding.loss(None, None, None, None, None),
    ):
        with pytest.raises(NotImplementedError):
            missing()
    assert GridCoding.from_config(coding.get_config()).get_config() == {}
