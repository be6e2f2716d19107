"""docs/codes.md says what the codes do."""

from node.kernels.codes.matrices import FIG6_COLUMNS, LAID_COLUMNS
from tests.code_pages import PAGE, fates, page, runs_without_syndrome


def test_the_page_is_what_the_codes_do():
    assert PAGE.read_text() == page(), "run `python -m tests.code_pages`"


def test_no_pattern_of_the_page_is_silent_under_a_vertical_code_that_corrects_symbols_or_words():
    for name in ("vertical_ssc", "vertical_chipkill", "vertical_hsiao"):
        assert all(silent == 0 for _, (_, _, silent) in fates(name))


def test_the_laid_rows_have_no_silent_runs_and_the_figures_own_have_173():
    def silent(columns):
        return [int(cell.split()[0]) for cell in runs_without_syndrome(columns)]

    assert sum(silent(FIG6_COLUMNS)) == 173
    assert sum(silent(LAID_COLUMNS)) == 0
