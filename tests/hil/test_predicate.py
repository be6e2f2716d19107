"""The user's own predicate: found beside the campaign first, and every failure to load it explained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError
from hil.campaign.configuration import load_campaign
from hil.campaign.predicate import guarded, load_predicate, predicate_source
from hil.campaign.workload import load_workload
from tests.campaigns import write_campaign


def folder(tmp_path: Path, name: str, answer: str) -> Path:
    place = tmp_path / name
    place.mkdir()
    (place / "verdict.py").write_text(f"def judge(golden, delivered, index):\n    return {answer}\n")
    return place


def test_two_campaigns_may_have_modules_of_one_name(tmp_path: Path) -> None:
    first, second = folder(tmp_path, "first", "'first'"), folder(tmp_path, "second", "'second'")
    one = load_predicate("verdict:judge", first, "x")
    two = load_predicate("verdict:judge", second, "x")
    again = load_predicate("verdict:judge", first, "x")
    assert (one({}, {}, 0), two({}, {}, 0), again({}, {}, 0)) == ("first", "second", "first")


def test_the_search_path_is_left_as_it_was(tmp_path: Path) -> None:
    before = list(sys.path)
    load_predicate("verdict:judge", folder(tmp_path, "here", "True"), "x")
    with pytest.raises(ConfigError):
        load_predicate("nothing_here_x:judge", tmp_path, "x")
    assert sys.path == before


def test_a_module_may_clear_the_path_itself(tmp_path: Path) -> None:
    (tmp_path / "tidy.py").write_text(
        "import sys\nsys.path.pop(0)\ndef judge(golden, delivered, index):\n    return True\n"
    )
    before = list(sys.path)
    assert load_predicate("tidy:judge", tmp_path, "x")({}, {}, 0) is True
    assert sys.path == before


def test_an_installed_function_needs_no_file(tmp_path: Path) -> None:
    assert predicate_source("math:isnan", tmp_path) is None
    assert load_predicate("math:isnan", tmp_path, "x")(float("nan")) is True  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("def judge(:\n", "SyntaxError"),
        ("import nothing_here_y\n", "No module named 'nothing_here_y'"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("raise SystemExit(3)\n", "SystemExit"),
        ("def other(): pass\n", "no function 'judge'"),
        ("judge = 3\n", "no function 'judge'"),
    ],
)
def test_a_module_that_cannot_be_used_is_explained(tmp_path: Path, source: str, part: str) -> None:
    (tmp_path / "broken_rule.py").write_text(source)
    sys.modules.pop("broken_rule", None)
    with pytest.raises(ConfigError) as caught:
        load_predicate("broken_rule:judge", tmp_path, "c.toml: [workload]")
    assert part in str(caught.value)
    assert str(caught.value).startswith("c.toml: [workload]: critical = 'broken_rule:judge'")


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("def judge(golden, delivered, index):\n    return golden['nothing']\n", "KeyError: 'nothing' (broken_rule.py"),
        ("def judge(golden):\n    return True\n", "takes 1 positional argument"),
        ("import numpy\ndef judge(*_):\n    return numpy.zeros(2)\n", "ValueError"),
    ],
)
def test_a_function_that_fails_is_the_users_to_correct(tmp_path: Path, source: str, part: str) -> None:
    path = write_campaign(tmp_path)
    (tmp_path / "broken_rule.py").write_text(source)
    path.write_text(path.read_text().replace("[workload]\n", '[workload]\ncritical = "broken_rule:judge"\n'))
    sys.modules.pop("broken_rule", None)
    with pytest.raises(ConfigError) as caught:
        load_workload(load_campaign(path))
    text = str(caught.value).replace(f"{tmp_path}/", "")
    assert text.startswith("[workload]: critical = 'broken_rule:judge' failed on sample 0: ")
    assert part in text


def test_what_a_function_prints_stays_out_of_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    ask = guarded("x:y", lambda _golden, _delivered, index: bool(print("seen", index)) or True)
    assert ask({}, {}, 4) is True
    assert capsys.readouterr() == ("", "seen 4\n")
