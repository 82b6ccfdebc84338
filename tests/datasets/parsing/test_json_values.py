import math

import pytest

from keras_cvx.datasets.parsing.json_values import amount_of, flag_of, whole_id_of

pytestmark = pytest.mark.host


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, False), (0, False), (1, True), (0.0, False), (1.0, True), (True, True), (False, False)],
)
def test_flags(value, expected):
    assert flag_of({"iscrowd": value}, "iscrowd") is expected
    assert flag_of({}, "iscrowd") is False


@pytest.mark.parametrize("value", ["0", "1", "", 2, -1, math.nan, [], {}, [1]])
def test_what_is_no_flag_is_named(value):
    with pytest.raises(ValueError, match=r"`iscrowd` must be 0 or 1. Received: "):
        flag_of({"iscrowd": value}, "iscrowd")


@pytest.mark.parametrize("value", [0, 7, 2.5, 2**40])
def test_amounts(value):
    amount = amount_of({"area": value}, "area")
    assert amount == value
    assert isinstance(amount, float)


@pytest.mark.parametrize("record", [{}, {"area": None}, {"area": math.nan}])
def test_amounts_that_are_not_told(record):
    assert math.isnan(amount_of(record, "area"))


@pytest.mark.parametrize("value", [-1, -0.5, math.inf, -math.inf, 10**400, "1_0", "7", True, [7]])
def test_what_is_no_amount_is_named(value):
    with pytest.raises(ValueError, match=r"`area` must be a finite number of at least 0. Received"):
        amount_of({"area": value}, "area")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (-(2**63), -(2**63)), (7.0, 7), ("7", 3), ("0f-3a", 3), (None, 3)],
)
def test_ids(value, expected):
    assert whole_id_of({"id": value}, 3) == expected
    assert isinstance(whole_id_of({"id": value}, 3), int)


@pytest.mark.parametrize("value", [2**63, 7.5, math.inf, math.nan, True, [7], {}])
def test_what_is_no_id_is_named(value):
    with pytest.raises(ValueError, match=r"`id` must be an integer of 64 bits, or text. Received"):
        whole_id_of({"id": value}, 3)
