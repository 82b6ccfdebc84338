import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_cvx.datasets import DatasetError
from keras_cvx.datasets.parsing import json_records as module
from keras_cvx.datasets.parsing.json_records import json_records

pytestmark = pytest.mark.host

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.json"


def test_no_records(path):
    path.write_text("{}")
    assert list(json_records(path, "a")) == []
    path.write_text(' { "a" : [ ] , "b": 3 }\n')
    assert list(json_records(path, "a", "c")) == []


@settings(
    max_examples=60,
    deadline=None,
    # A busy machine is slow at what is drawn here.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(values, max_size=4)),
    st.sampled_from([None, 1, 3]),
    st.booleans(),
    st.integers(1, 9),
)
def test_records_are_those_of_json(path, monkeypatch, content, indent, ascii_only, block):
    """However small the blocks are that the file is read in."""
    monkeypatch.setattr(module, "_BLOCK", block)
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii_only), "utf-8")
    expected = [
        (key, place, item)
        for key, items in content.items()
        if key in "abc"
        for place, item in enumerate(items)
    ]
    assert list(json_records(path, "a", "b", "c")) == expected


def test_a_list_is_read_up_to_where_the_file_ends(path):
    path.write_text('{"a": [1, {"b": 2}, ')
    records = json_records(path, "a")
    assert [next(records), next(records)] == [("a", 0, 1), ("a", 1, {"b": 2})]
    with pytest.raises(DatasetError, match=r"file\.json' must be a whole JSON file"):
        next(records)


@pytest.mark.parametrize("end", range(1, 38))
def test_every_file_that_is_cut_off_is_an_error(path, end):
    content = '{"a": [1, {"b": "x"}], "c": [-2.5e3]} '
    path.write_text(content[:-end][:-1] if end > 1 else content + "]")
    with pytest.raises(DatasetError, match=r"file\.json' must be a whole JSON file in UTF-8"):
        list(json_records(path, "a", "c"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"'\{' is missing before 'the end', at character 0"),
        (b"[1]", r"'\{' is missing before '\[', at character 0"),
        (b'{"a": 3}', r"'\[' is missing before '3', at character 6"),
        (b'{"a": [1 2]}', r"'\]' is missing before '2', at character 9"),
        (b'{"a": [1,]}', r"Expecting value, at character 9"),
        (b'{"a": [1]} {', r"more follows after its end, at character 11"),
        (b'{"a": ["\xff"]}', r"codec can't decode"),
        (b'{"a": [' + b"9" * 5000 + b"]}", r"Exceeds the limit"),
        (b'{"a": ' + b"[" * 100_000, r"recursion"),
        (b"{\0", r"Expecting value"),
    ],
)
def test_what_is_wrong_is_told(path, content, message):
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        list(json_records(path, "a"))


def test_a_value_without_end_is_not_held(path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 10)
    monkeypatch.setattr(module, "_LONGEST", 100)
    path.write_text('{"a": ["' + "x" * 5000)
    with pytest.raises(DatasetError, match=r"a value is longer than 100 characters"):
        list(json_records(path, "a"))


def test_a_list_that_nobody_asked_for_is_not_held(path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 10)
    monkeypatch.setattr(module, "_LONGEST", 100)
    path.write_text(json.dumps({"b": [{"x": place} for place in range(99)], "a": [1]}))
    assert list(json_records(path, "a")) == [("a", 0, 1)]


def test_keys_that_a_file_must_have(path):
    path.write_text('{"a": [1], "b": []}')
    assert list(json_records(path, "a", "b", required=("a", "b"))) == [("a", 0, 1)]
    records = json_records(path, "a", "c", "d", required=("a", "c", "d"))
    # What is there comes first.
    assert next(records) == ("a", 0, 1)
    with pytest.raises(
        DatasetError,
        match=r"file\.json' must have lists under the keys 'a', 'c', 'd'. .*: no 'c' and no 'd'$",
    ):
        next(records)
