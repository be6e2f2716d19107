"""Store: rows are kept whatever ends the writer, and a directory never mixes two runs."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from firmware_bridge.errors import ConfigError, DataError, Interrupted
from hil.campaign.record import SCHEMA_VERSION, AttemptRow, Row
from hil.campaign.store import HEADER_FILE, ROWS_FILE, Store, read_header, read_rows
from tests.hil.synthetic_results import header, task

HEADER = header(task("none", "none"), trials=10)


def row(trial: int, reason: str = "lost") -> AttemptRow:
    return AttemptRow(protection="none", trial=trial, reason=reason)


def written(directory: Path, *rows: Row) -> bytes:
    with Store(directory, HEADER) as store:
        store.append(*rows)
    return (directory / ROWS_FILE).read_bytes()


def test_rows_come_back_in_the_order_written(tmp_path: Path) -> None:
    rows = [row(trial, reason) for trial, reason in enumerate(("a", "two\nlines", "ä \u2028", '"quoted"'))]
    with Store(tmp_path / "new" / "run", HEADER) as store:
        for each in rows[:2]:
            store.append(each)
        store.append(*rows[2:])
        assert list(store.rows()) == rows, "what is appended can be read at once"
        store.append()
    assert list(read_rows(tmp_path / "new" / "run")) == rows
    assert read_header(tmp_path / "new" / "run") == HEADER


def test_a_line_that_was_cut_short_is_dropped_at_every_byte(tmp_path: Path) -> None:
    whole = written(tmp_path, row(0), row(1))
    first = whole.index(b"\n") + 1
    for cut in range(len(whole) + 1):
        (tmp_path / ROWS_FILE).write_bytes(whole[:cut])
        complete = whole[:cut].count(b"\n")
        assert list(read_rows(tmp_path)) == [row(0), row(1)][:complete]
        with Store(tmp_path, HEADER) as store:
            assert (tmp_path / ROWS_FILE).read_bytes() == whole[: (0, first, len(whole))[complete]]
            store.append(row(7))
        assert list(read_rows(tmp_path)) == [*[row(0), row(1)][:complete], row(7)]


@pytest.mark.parametrize("length", [65_000, 65_536, 70_000, 140_000])
def test_a_long_torn_line_is_dropped_as_well(length: int, tmp_path: Path) -> None:
    """The end of the file is searched in blocks; a torn line may be longer than one."""
    whole = written(tmp_path, row(0))
    (tmp_path / ROWS_FILE).write_bytes(whole + b"x" * length)
    with Store(tmp_path, HEADER):
        pass
    assert (tmp_path / ROWS_FILE).read_bytes() == whole


def test_a_line_that_is_no_row_is_said_with_its_number(tmp_path: Path) -> None:
    whole = written(tmp_path, row(0))
    (tmp_path / ROWS_FILE).write_bytes(whole + b'{"type":"attempt"}\n' + whole)
    with pytest.raises(DataError, match=r"rows\.jsonl, line 2: not a row"):
        list(read_rows(tmp_path))


def test_no_rows_yet(tmp_path: Path) -> None:
    assert list(read_rows(tmp_path)) == []
    with pytest.raises(ConfigError, match="give the directory of a run"):
        read_header(tmp_path)


def test_another_run_is_refused_by_the_field_that_differs_and_left_alone(tmp_path: Path) -> None:
    before = written(tmp_path, row(0))
    for field, value in (("seed", 12345), ("target", "elsewhere"), ("strike_key", "f" * 64), ("trials", 11)):
        with pytest.raises(ConfigError, match=f"another run: {field} differs"):
            Store(tmp_path, msgspec.structs.replace(HEADER, **{field: value}))
    assert (tmp_path / ROWS_FILE).read_bytes() == before
    later = msgspec.structs.replace(HEADER, created="2000-01-01T00:00:00+00:00")
    with Store(tmp_path, later) as store:
        assert store.header == HEADER, "the first one's time of birth stays"


def test_a_refused_directory_is_free_again(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(ConfigError):
        Store(tmp_path, msgspec.structs.replace(HEADER, seed=12345))
    with Store(tmp_path, HEADER):
        pass


def test_a_record_of_another_schema_or_none_at_all_is_said(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / HEADER_FILE
    path.write_bytes(path.read_bytes().replace(b'"schema": %d' % SCHEMA_VERSION, b'"schema": 99'))
    with pytest.raises(DataError, match=f"schema 99; this version reads {SCHEMA_VERSION}"):
        read_header(tmp_path)
    path.write_text("{}")
    with pytest.raises(DataError, match="cannot be read as a campaign's record"):
        read_header(tmp_path)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write results here: .* choose another --out"):
        Store(tmp_path / "file", HEADER)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG])
def test_a_medium_that_takes_no_more_keeps_whole_rows(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a row goes in, then nothing: the half is dropped, the rows before it stay."""
    true_write = os.write
    choose = random.Random(code)

    def half(descriptor: int, data: bytes) -> int:
        if b"third" not in data:
            return true_write(descriptor, data[: choose.randrange(1, len(data) + 1)])
        if data.startswith(b"{"):
            return true_write(descriptor, data[:20])
        raise OSError(code, os.strerror(code))

    with Store(tmp_path, HEADER) as store:
        monkeypatch.setattr("hil.campaign.store.os.write", half)
        store.append(row(0), row(1))
        with pytest.raises(Interrupted, match=f"hil resume {tmp_path}") as caught:
            store.append(row(2, "third"))
        assert caught.value.exit_code == 4
    monkeypatch.undo()
    assert list(read_rows(tmp_path)) == [row(0), row(1)]
    assert written(tmp_path, row(2)).count(b"\n") == 3


def test_a_medium_that_fails_at_the_end_is_said_and_the_directory_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    store = Store(tmp_path, HEADER)
    monkeypatch.setattr("hil.campaign.store.os.fsync", fails)
    with pytest.raises(Interrupted, match="what was measured is kept"):
        store.close()
    monkeypatch.undo()
    written(tmp_path)


def test_a_writer_that_is_killed_leaves_every_row_and_the_directory_free(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from tests.hil.test_store import HEADER, row; "
        "from hil.campaign.store import Store; store = Store(Path(sys.argv[1]), HEADER); "
        "[store.append(row(trial)) for trial in range(50)]; os.kill(os.getpid(), signal.SIGKILL)"
    )
    folder = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=folder, timeout=60, check=False)
    assert done.returncode == -9
    assert list(read_rows(tmp_path)) == [row(trial) for trial in range(50)]
    written(tmp_path, row(50))
