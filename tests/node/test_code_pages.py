"""docs/codes.md says what the codes do."""

import galois
import numpy as np

from node.ecc import CODES
from node.kernels.codes.matrices import FIG6_COLUMNS, LAID_COLUMNS
from tests.code_pages import PAGE, fates, page, runs_without_syndrome, whole_columns_without_syndrome


def test_the_page_is_what_the_codes_do():
    assert PAGE.read_text() == page(), "run `python -m tests.code_pages`"


def test_no_regular_pattern_is_silent_under_a_vertical_code_that_corrects_symbols_or_words():
    """A stuck column is a random pattern: of 512 about 1, 0 and 2 have no syndrome of 9, 17 and 8 bits."""
    for name, most in (("vertical_ssc", 4), ("vertical_chipkill", 0), ("vertical_hsiao", 6)):
        for kind, (_, _, silent) in fates(name):
            assert silent <= (most if kind == "stuck" else 0), (name, kind)


def test_the_laid_rows_have_no_silent_runs_and_the_figures_own_have_173():
    assert whole_columns_without_syndrome(FIG6_COLUMNS) == ["1 of 1", "2 of 2"]
    assert whole_columns_without_syndrome(LAID_COLUMNS) == ["0 of 1", "0 of 2"]

    def silent(columns):
        return [int(cell.split()[0]) for cell in runs_without_syndrome(columns)]

    assert sum(silent(FIG6_COLUMNS)) == 173
    assert sum(silent(LAID_COLUMNS)) == 0


def test_a_stuck_column_is_silent_as_rarely_as_the_page_says():
    """Sums over any rows of one bit column reach 2^rank outcomes, each alike often: one of these is no syndrome."""
    for name, checks, rank in (
        ("vertical_parity", 1, 1),
        ("vertical_hsiao", 8, 8),
        ("vertical_ssc", 2, 9),
        ("vertical_chipkill", 3, 17),
    ):
        blocks = np.zeros((64, 4096), np.uint8)
        blocks[np.arange(64), 64 * np.arange(64)] = 1
        columns = [CODES[name].encode(block)[: 64 * checks : 64] for block in blocks]
        assert np.linalg.matrix_rank(galois.GF2(np.unpackbits(columns, axis=1))) == rank
