"""The page: complete, self-contained, escaped, and alive in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError
from hil.campaign.record import AttemptRow
from hil.campaign.store import ROWS_FILE
from hil.report import to_json, write_report
from hil.report.summary import summarise
from tests.hil.synthetic_results import CHECK, TENSORS, demo_like, fault, header, heat, link, task, trial, write

HEADINGS = (
    "What was struck and what was not",
    "How the trials ended",
    "What it costs and what it buys",
    "Which bits and layers hurt",
    "Temperature and throughput",
    "Checkpoints and recovery",
    "Link and infrastructure",
    "Repeat it",
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)
HOSTILE = "</script><script>alert('x')</script><b title=\"y\">&amp;"


class _Page(HTMLParser):
    """Collects what a test asks about: elements, attributes, headings and text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(demo_like(tmp_path_factory.mktemp("run"), 60, rate_per_bit_day=(1e-9, 1e-8, 1e-7)))


def test_it_has_every_part_in_order(page: Path) -> None:
    markup = page.read_text()
    parsed = _Page(markup)
    assert tuple(parsed.headings) == HEADINGS
    assert parsed.open == []
    assert parsed.tags.count("svg") > 30
    assert "Agreement of the emulator and a board proves that the software is portable." in markup
    assert "hil replay DIR PROTECTION TRIAL" in markup
    assert "node ended from outside: signal 9" in markup
    assert "before any of the 4 operators" in markup


def test_it_asks_for_nothing_from_anywhere(page: Path) -> None:
    markup = page.read_text()
    assert "http" not in markup
    assert "//" not in re.sub(r"<script type=\"application/json\".*?</script>", "", markup, flags=re.DOTALL)
    parsed = _Page(markup)
    references = [value for key, value in parsed.attributes if key in ("src", "href", "data", "action", "xlink:href")]
    assert all(value == "data:," or value.startswith("#") for value in references if value is not None)
    assert "url(" not in markup
    assert "@import" not in markup
    assert parsed.tags.count("script") == 1  # data, not code


def test_the_data_lies_inside_and_beside_it(page: Path) -> None:
    [embedded] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    expected = json.loads(json.dumps(to_json(summarise(page.parent))))
    assert json.loads(embedded) == expected
    assert json.loads((page.parent / "report.json").read_text()) == expected


def test_pictures_have_titles_and_tables_have_headers(page: Path) -> None:
    markup = page.read_text()
    pictures = re.findall(r'<svg class="chart[^>]*>(<title>[^<]+</title>)?', markup)
    assert pictures
    assert all(pictures)
    assert markup.count('role="img"') == len(pictures)
    assert markup.count("<table") == markup.count("<thead>")
    assert markup.count("<th ") == markup.count('<th scope="')
    assert '<html lang="en">' in markup


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    tensor = type(TENSORS[0])(name=HOSTILE, step=0, dtype="int8", offset=0, size_bytes=7424)
    head = header(
        task(HOSTILE, "none", own=(CHECK,)),
        name=HOSTILE,
        model_name=HOSTILE,
        critical=HOSTILE,
        target=HOSTILE,
        step_names=(HOSTILE,),
        tensors=(tensor,),
        versions={HOSTILE: HOSTILE},
        workload=HOSTILE,
    )
    rows = (trial(HOSTILE, 0, "CRASH"), AttemptRow(protection=HOSTILE, trial=0, reason=HOSTILE), link(), heat(0, 60.0))
    markup = write_report(write(tmp_path, head, *rows)).read_text()
    parsed = _Page(markup)
    assert "<script>" not in markup
    assert "<b title" not in markup
    assert parsed.tags.count("script") == 1
    assert parsed.open == []
    assert any(HOSTILE in words for words in parsed.words)
    [embedded] = re.findall(r'id="data">(.*?)</script>', markup, re.DOTALL)
    assert json.loads(embedded)["name"] == HOSTILE


@pytest.mark.parametrize(
    "rows",
    [
        (),
        (trial("none", 0, "CRASH", timing=None, faults=()),),
        (trial("none", 0, faults=(fault("process", 1),)), heat(0, 60.0)),
        (trial("none", 0), heat(0, 60.0), heat(0, 60.0)),
    ],
    ids=["nothing", "no timing", "one slice", "no time passes"],
)
def test_little_is_enough_for_a_page(tmp_path: Path, rows: tuple) -> None:
    markup = write_report(write(tmp_path, header(task("none", "none")), *rows)).read_text()
    assert ("Temperature and throughput" in markup) == (len(rows) > 1)
    assert "No protection of this run saved a checkpoint." in markup
    assert not re.search(r"\b(nan|inf)\b", markup.lower())


def test_without_controls_the_page_says_so(tmp_path: Path) -> None:
    markup = write_report(write(tmp_path, header(task("parity"), trials=1), trial("parity", 0))).read_text()
    assert "The control null has no trial: the harness is not checked." in markup
    assert "Noise floor: unknown" in markup


def test_a_second_report_replaces_the_first(tmp_path: Path) -> None:
    directory = write(tmp_path / "run", header(), trial("none", 0))
    first = write_report(directory).read_text()
    write(directory, header(), trial("none", 1, "DUE"))
    assert write_report(directory).read_text() != first
    assert {path.name for path in directory.iterdir()} == {"record.json", ROWS_FILE, "report.html", "report.json"}


def test_a_report_that_cannot_be_written_is_an_error_in_words(tmp_path: Path) -> None:
    directory = write(tmp_path / "run", header(), trial("none", 0))
    (directory / "report.html").mkdir()
    with pytest.raises(ConfigError, match=r"report.html: cannot write the report"):
        write_report(directory)
    assert not list(directory.glob("*.tmp"))
    assert not list(directory.glob(".*.tmp"))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install one to open the report in a browser")
def test_a_browser_shows_it_without_complaint(page: Path, tmp_path: Path) -> None:
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert shown.returncode == 0, shown.stderr[-2000:]
    assert "CONSOLE" not in shown.stderr, shown.stderr[-2000:]
    parsed = _Page(shown.stdout)
    assert tuple(parsed.headings) == HEADINGS
    assert parsed.tags.count("svg") == _Page(page.read_text()).tags.count("svg")
    assert parsed.tags.count("rect") > 100


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install one to open the report in a browser")
def test_the_browser_check_can_fail(tmp_path: Path) -> None:
    """The console is really heard: a page with a complaint gives one."""
    broken = tmp_path / "broken.html"
    broken.write_text("<!doctype html><title>x</title><script>console.error('heard')</script>")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", broken.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert "CONSOLE" in shown.stderr
