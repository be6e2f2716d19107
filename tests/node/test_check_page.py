"""docs/checks.md says what the checks find."""

from __future__ import annotations

from tests.check_pages import PAGE, page


def test_the_page_is_what_the_checks_do() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.check_pages`"
