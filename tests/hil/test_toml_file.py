"""TOML in and out: every error says where, what and what to do; what is written reads back equal."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import ConfigError
from hil.toml_file import advice, check_keys, read_document, toml_text, typed_table, typed_value


class Sample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    trials: Annotated[int, msgspec.Meta(ge=1)] = 10
    share: float = 0.5
    regions: tuple[str, ...] = ()


def test_a_table_becomes_a_struct() -> None:
    assert typed_table({"name": "x", "share": 1, "regions": ["a"]}, Sample, "f: [s]") == Sample(
        name="x", share=1.0, regions=("a",)
    )


def test_a_file_saved_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text('name = "x"\n', encoding="utf-8-sig")
    assert read_document(path, "hint") == {"name": "x"}


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ({"name": "x", "trails": 3}, ["f.toml: [s]", "'trails'", "did you mean 'trials'?"]),
        ({"name": "x", "zzz": 3}, ["'zzz'", "choose from name, trials, share, regions"]),
        ({}, ["f.toml: [s]", "name is missing", "add name = "]),
        ({"name": "x", "trials": "many"}, ["f.toml: [s]: trials = 'many'", "expected int, got str"]),
        ({"name": "x", "trials": 0}, ["trials = 0", ">= 1"]),
        ({"name": "x", "trials": True}, ["trials = True", "got bool"]),
        ({"name": "x", "trials": 1.5}, ["trials = 1.5", "expected int"]),
        ({"name": 7}, ["name = 7", "expected str"]),
        ({"name": "x", "regions": ["a", 3]}, ["regions = ['a', 3]", "expected str, got int"]),
        ({"name": "x", "regions": "a"}, ["regions = 'a'", "expected array, got str"]),
        (3, ["f.toml: [s]", "expected a table, got 3"]),
        ([{"name": "x"}], ["expected a table", "[s]"]),
    ],
)
def test_a_wrong_table_is_explained(table: Any, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        typed_table(table, Sample, "f.toml: [s]")
    for part in parts:
        assert part in str(caught.value)
    assert "`" not in str(caught.value)


def test_long_values_are_shortened() -> None:
    with pytest.raises(ConfigError, match=r"x = 'a+\.\.\.: expected int"):
        typed_value("a" * 500, int, "x")


def test_known_keys_pass() -> None:
    check_keys({"a": 1}, ["a", "b"], "f")


def test_advice_lists_all_when_nothing_is_near() -> None:
    assert advice("qqqq", ["sim", "pty"]) == "choose from sim, pty"


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[campaign]\nname = "x"\ntrials = = 3\n')
    with pytest.raises(ConfigError, match=r"c\.toml: not valid TOML: .*line 3"):
        read_document(path, "write one")


def test_a_key_given_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("a = 1\na = 2\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_document(path, "write one")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; write one"):
        read_document(tmp_path / "none.toml", "write one")
    with pytest.raises(ConfigError, match="is a directory"):
        read_document(tmp_path, "write one")
    binary = tmp_path / "b.toml"
    binary.write_bytes(b"name = \xff\xfe")
    with pytest.raises(ConfigError, match="byte 7 is no UTF-8"):
        read_document(binary, "write one")
    with pytest.raises(ConfigError, match=r"cannot be read|no such file"):
        read_document(binary / "below.toml", "write one")


scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
tables = st.recursive(
    st.dictionaries(keys, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=4),
    lambda inner: st.dictionaries(keys, st.one_of(scalars, inner, st.lists(inner, min_size=1, max_size=3)), max_size=4),
    max_leaves=8,
)


@given(tables)
def test_what_is_written_reads_back_equal(document: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(document)) == document


def test_none_is_left_out() -> None:
    assert tomllib.loads(toml_text({"a": None, "b": {"c": None, "d": 1}})) == {"b": {"d": 1}}
