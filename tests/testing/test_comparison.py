import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.testing.comparison import (
    BreachError,
    all_finite,
    plain,
    same_config,
    same_values,
    specification,
    to_numpy,
)


def test_a_configuration_is_compared_as_a_file_carries_it():
    before = {"size": (2, 3), "loss": keras.losses.Huber(delta=2.0)}
    assert plain(before)["size"] == [2, 3]
    same_config(before, {"size": [2, 3], "loss": keras.losses.Huber(delta=2.0)}, "saving")
    after = {"size": (2, 4), "loss": keras.losses.Huber(delta=2.0)}
    message = "the configuration differs after saving: size=[2, 4], was [2, 3]"
    with pytest.raises(BreachError, match=f"^{re.escape(message)}$"):
        same_config(before, after, "saving")


def test_what_one_configuration_lacks_differs():
    with pytest.raises(BreachError, match="axis=None, was 1; size=2, was None"):
        same_config({"axis": 1}, {"size": 2}, "copying")


def test_tensors_become_arrays():
    found = to_numpy({"half": ops.cast([1.5], "float16"), "count": ops.cast([3], "int32")})
    assert {name: x.dtype for name, x in found.items()} == {"half": "float32", "count": "int32"}
    assert found["half"].tolist() == [1.5]
    with pytest.raises(BreachError, match="a symbolic tensor was returned for real ones"):
        to_numpy([keras.Input((2,))])


def test_specification_of_a_structure():
    structure = {"boxes": ops.zeros((2, 4)), "labels": [ops.zeros((2,), "int32")]}
    assert specification(structure) == {
        "output['boxes']": ((2, 4), "float32"),
        "output['labels'][0]": ((2,), "int32"),
    }
    assert specification(ops.zeros((3,))) == {"output": ((3,), "float32")}


VALUES = {"a": np.float32([1.0, np.nan, np.inf]), "b": [np.float32([2.0])]}


def test_equal_values_pass_within_the_tolerance():
    same_values(VALUES, VALUES, 0.0, "twice")
    near = {**VALUES, "b": [np.float32([2.001])]}
    same_values(VALUES, near, 1e-3, "twice")
    with pytest.raises(BreachError, match=r"output\['b'\]\[0\] differs twice by up to 0.001, must"):
        same_values(VALUES, near, 1e-5, "twice")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"a": VALUES["a"]}, r"the structure differs here: \[\"output\['a'\]\"\], must be"),
        ({**VALUES, "a": np.float32([1.0])}, r"output\['a'\] has another shape here: \(1,\)"),
        (
            {**VALUES, "a": np.float32([1.0, 2.0, np.inf])},
            r"output\['a'\] differs here by up to nan",
        ),
        ({**VALUES, "a": np.float32([1.0, np.nan, 5.0])}, r"output\['a'\] differs here by up to"),
    ],
)
def test_other_values_are_a_breach(other, message):
    with pytest.raises(BreachError, match=message):
        same_values(VALUES, other, 1e-5, "here")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_must_be_finite(value):
    all_finite({"x": np.float32([1.0]), "n": np.int32([2])}, "here")
    with pytest.raises(BreachError, match=r"output\['x'\] is not finite here"):
        all_finite({"x": np.float32([1.0, value])}, "here")
