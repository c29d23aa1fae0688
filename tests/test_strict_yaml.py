"""The strict reader means what a YAML 1.2 reader means, loses nothing and says where everything stands."""

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.errors import InputError
from hpcsim.strict_yaml import (
    DEEPEST_NESTING,
    LARGEST_FILE_BYTES,
    dump_yaml,
    parse_mapping,
    parse_value,
    read_mapping,
)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("12:30:00", "12:30:00"),
        ("24:00", "24:00"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("2023-09-15", "2023-09-15"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("+7", 7),
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("'no'", "no"),
        ('"010"', "010"),
        ("tRUE", "tRUE"),
        ("[1, no]", [1, "no"]),
        ("{a: 0o7}", {"a": 7}),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, meaning: object) -> None:
    found = parse_value(text, "here")
    assert found == meaning
    assert type(found) is type(meaning)


def test_not_a_number_is_read_as_such() -> None:
    assert math.isnan(parse_value(".nan", "here"))


def test_every_key_and_value_has_its_line_and_column() -> None:
    parsed = parse_mapping("seed: 1\nmachine:\n  nodes:  560\nlist: [3, {a: 4}]\n", "s.yaml")
    keys = {path: str(place) for path, place in parsed.key_places.items()}
    values = {path: str(place) for path, place in parsed.value_places.items()}
    assert parsed.data == {"seed": 1, "machine": {"nodes": 560}, "list": [3, {"a": 4}]}
    assert keys == {
        ("seed",): "s.yaml:1:1",
        ("machine",): "s.yaml:2:1",
        ("machine", "nodes"): "s.yaml:3:3",
        ("list",): "s.yaml:4:1",
        ("list", 1, "a"): "s.yaml:4:12",
    }
    assert values == {
        (): "s.yaml:1:1",
        ("seed",): "s.yaml:1:7",
        ("machine",): "s.yaml:3:3",
        ("machine", "nodes"): "s.yaml:3:11",
        ("list",): "s.yaml:4:7",
        ("list", 0): "s.yaml:4:8",
        ("list", 1): "s.yaml:4:11",
        ("list", 1, "a"): "s.yaml:4:15",
    }


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3:1", "the key 'a' a second time; the first is in line 1"),
        ("a:\n  b: 1\n  'b': 1\n", "f:3:3", "the key 'b' a second time; the first is in line 2"),
        ("1: x\n01: y\n", "f:2:1", "the key 1 a second time"),
        ("a:\n\tb: 1\n", "f:2:1", "tab"),
        ("a: !!python/object:os.system x\n", "f:1:4", "python/object"),
        ("a: !mine 1\n", "f:1:4", "!mine"),
        ("a: !!str 1\n", "f:1:4", "the tag"),
        ("a: &x 1\nb: *x\n", "f:1:4", "anchor '&x'"),
        ("a: *x\n", "f:1:4", "alias '*x'"),
        ("%YAML 1.1\n---\na: 1\n", "f:1:1", "directive"),
        ("a: 1\n---\nb: 1\n", "f:2:1", "second document"),
        ("? [1]\n: 2\n", "f:1:3", "not text"),
        ("null: 2\n", "f:1:1", "not text"),
        ("a: [1, 2\n", "f:2:1", "expected ',' or ']', but got '<stream end>'; it began in line 1"),
        ("a: b: c\n", "f:1:5", "not allowed here"),
        ("a: 1\n  b: 2\n", "f:2:4", "not allowed here"),
        ("- 1\n", "f:1:1", "found a list"),
        ("just text\n", "f:1:1", "found a text"),
        ("7\n", "f:1:1", "found a number"),
        ("", "f:1:1", "found nothing"),
        ("# a comment\n", "f:1:1", "found nothing"),
        ("a: 1\nb: \0\n", "f:2:4", r"'\x00'"),
        ('a: "\\0"\n', "f:1:4", "no file name"),
        ('a: "\\ud800"\n', "f:1:4", "no file name"),
        ('a: "\\U99999999"\n', "f", "not YAML"),
        (b"a: 1\nbc: \xff\n", "f:2:5", "byte 0xff is not UTF-8"),
        ("\ufeffa: 1".encode("utf-16"), "f:1:1", "not UTF-8"),
        ("a: " + "9" * 5000, "f:1:4", "number of 5000 characters"),
        ("a: " + "[" * 200 + "]" * 200, f"f:1:{4 + DEEPEST_NESTING - 1}", "levels of nesting"),
        ("a: " + "x" * LARGEST_FILE_BYTES, "f", "larger than"),
    ],
)
def test_what_is_refused_is_placed(text: str | bytes, place: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_mapping(text, "f")
    assert str(caught.value).startswith(f"{place}: ")
    assert said in str(caught.value)


def test_a_file_is_read_with_or_without_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    for mark in (b"", b"\xef\xbb\xbf"):
        file.write_bytes(mark + b"seed: 1\n")
        assert read_mapping(file).data == {"seed": 1}


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: there is no such file"):
        read_mapping(tmp_path / "nowhere.yaml")
    with pytest.raises(InputError, match="a directory, expected a YAML file"):
        read_mapping(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_mapping(tmp_path / "nul\0name")


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12) | st.sampled_from(
    [
        "no",
        "12:30",
        "24:00:00",
        "1e-3",
        "0o7",
        "010",
        "~",
        "",
        "2023-09-15",
        "- a",
        "a: b",
        "#x",
        "=",
        "<<",
        "0x1f",
        ".5",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
plain_data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(texts, plain_data, max_size=4))
def test_dumped_data_is_read_back_the_same(data: dict[str, object]) -> None:
    text = dump_yaml(data)
    assert parse_mapping(text, "dumped").data == data
    assert list(parse_mapping(text, "dumped").data) == list(data)


@settings(deadline=None, max_examples=100)
@given(texts)
def test_text_is_dumped_so_that_yaml_1_1_reads_text_too(text: str) -> None:
    assert yaml.safe_load(dump_yaml({"a": text})) == {"a": text}


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet=st.sampled_from("ab1:-[]{},&*!|>'\"%@`# \n\t?.~\\0x"), max_size=40) | st.binary(max_size=40))
def test_any_text_is_read_or_refused_with_its_place(text: str | bytes) -> None:
    outcome: object
    try:
        outcome = parse_mapping(text, "f").data
    except InputError as error:
        outcome = str(error)
    assert isinstance(outcome, dict) or str(outcome).startswith("f:")
