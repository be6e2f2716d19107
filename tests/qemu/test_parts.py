"""The parts of the emulated board that need neither QEMU nor packages."""

from __future__ import annotations

import gzip
import os
import stat
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import ConfigError, DataError
from hil.boards.qemu import root_tree, tools
from hil.boards.qemu.image import MANIFEST, find_image
from hil.boards.qemu.initramfs import initramfs
from hil.boards.qemu.memory_map import MEMORY_START, PAGE_BYTES, PageClass, parse_map
from hil.boards.qemu.stamps import stamps
from hil.cli import main
from hil.strikes import Stream
from tests.campaigns import write_campaign

FIRST_PAGE = MEMORY_START // PAGE_BYTES


def cpio_entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Read a cpio archive field by field, as its format page describes it: name to mode and content."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        at += -(-(110 + name_size) // 4) * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[at : at + size])
        at += -(-size // 4) * 4


@given(st.binary(max_size=50), st.dictionaries(st.from_regex(r"\A[a-z]{1,9}\.ko\Z"), st.binary(max_size=9), max_size=3))
def test_initramfs_holds_what_was_put_in(busybox: bytes, modules: dict[str, bytes]) -> None:
    entries = cpio_entries(gzip.decompress(initramfs(busybox, modules, "/opt/start")))
    assert entries["bin/busybox"] == (stat.S_IFREG | 0o755, busybox)
    assert {name: entries[f"modules/{name}"][1] for name in modules} == modules
    script = entries["init"][1].decode()
    assert f"for module in {' '.join(modules)}; do" in script
    assert "/opt/start" in script
    assert stat.S_ISCHR(entries["dev/console"][0])


def test_a_stamp_changes_with_the_file_and_with_what_it_imports(tmp_path: Path) -> None:
    texts = {
        "node/a.py": "from node.b import thing\n",
        "node/b.py": "import node.c\n",
        "node/c.py": "VALUE = 1\n",
        "node/d.py": "from elsewhere import node\n",
    }
    files = {name: tmp_path / name for name in texts}
    (tmp_path / "node").mkdir()
    for name, text in texts.items():
        files[name].write_text(text)
    before = stamps(files)
    files["node/c.py"].write_text("VALUE = 2\n")
    after = stamps(files)
    assert {name for name in texts if before[name] != after[name]} == {"node/a.py", "node/b.py", "node/c.py"}
    assert stamps(files) == after


def test_the_nodes_files_and_their_times_are_laid_into_the_tree(tmp_path: Path) -> None:
    root_tree.install_node(tmp_path)
    laid = tmp_path / root_tree.SITE
    for name, source in root_tree.node_files().items():
        assert (laid / name).read_bytes() == source.read_bytes()
    assert os.access(laid / "init", os.X_OK)
    assert (laid / "node/jit.py").stat().st_mtime == stamps(root_tree.node_files())["node/jit.py"]


def test_memory_map_draws_every_bit_of_its_class_and_no_other() -> None:
    text = f"files\t{FIRST_PAGE}\t1\nfree\t{FIRST_PAGE + 1}\t2\nfiles\t{FIRST_PAGE + 5}\t1\n"
    files = next(found for found in parse_map(text, 6 * PAGE_BYTES) if found.name == "files")
    bits = Counter(files.draw(Stream("key", trial)) // (8 * PAGE_BYTES) for trial in range(2000))
    assert set(bits) == {0, 5}
    assert abs(bits[0] - 1000) < 150
    tiny = PageClass(name="tiny", runs=((3, 1), (9, 1)))
    assert {tiny.draw(Stream("key", trial)) for trial in range(500)} == {*range(24, 32), *range(72, 80)}


@pytest.mark.parametrize(
    "line", ["free", "free\t1\tx", "free\t0\t1", f"free\t{FIRST_PAGE}\t9", f"free\t{FIRST_PAGE}\t0", "Traceback"]
)
def test_a_memory_map_that_cannot_be_true_is_refused(line: str) -> None:
    with pytest.raises(DataError, match="emulated board"):
        parse_map(line, 4 * PAGE_BYTES)


def test_a_missing_image_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hil board build-qemu"):
        find_image(tmp_path)


def test_an_image_of_other_sources_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / MANIFEST).write_text('{"sources": "0"}')
    with pytest.raises(ConfigError, match="other sources"):
        find_image(tmp_path)


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"apt-get install .*qemu-user-static"):
        tools.check_tools()
    with pytest.raises(ConfigError, match="apt-get install"):
        tools.call(["qemu-aarch64-static"], "trying")


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(ConfigError, match=r"making it: sh ended with 3: no room"):
        tools.call(["sh", "-c", "echo no room >&2; exit 3"], "making it")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--strike", "machine", "--workers", "2"], "goes without --workers"),
        (["--strike", "machine", "--target", "pty"], "goes without --target"),
        (["--density", "8"], "go with --strike machine"),
        (["--strike", "machine"], "hil board build-qemu"),
        (["--target", "qemu"], "hil board build-qemu"),
    ],
)
def test_a_board_that_cannot_be_is_said_and_leaves_nothing(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_campaign(tmp_path / "campaign", trials=1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["run", str(path), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
