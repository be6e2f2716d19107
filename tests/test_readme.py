"""The README is true: its Python runs, its commands work, its tree and its files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_python_example_runs_and_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (source,) = blocks("python")
    exec(compile(source, "README.md", "exec"), {})
    said = re.search(r"# (DecodeReport\(.*\))", source)
    assert said is not None
    assert capsys.readouterr().out.strip() == said.group(1)


def test_commands_work_in_the_order_given(tmp_path: Path) -> None:
    (console,) = blocks("console")
    commands = [line.removeprefix("$ ") for line in console.splitlines()]
    assert len(commands) >= 5
    for command in commands:
        words = command.split()
        assert words[0] == "hil"
        done = subprocess.run(
            [sys.executable, "-m", "hil", *words[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert done.stdout, command


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z]+)", TEXT)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_tree_names_what_exists() -> None:
    (tree,) = re.findall(r"```\n(firmware_bridge/.*?)```", TEXT, re.DOTALL)
    folder = Path()
    for line in tree.splitlines():
        if line and not line.startswith(" "):
            folder = ROOT / line.split()[0]
            assert folder.is_dir(), line
        for name in re.findall(r"(?<![\w/.])([a-z_]+(?:\.py|/))(?=\s|$)", line if line.startswith(" ") else ""):
            assert (folder / name).exists(), f"{folder.name}/{name}"


def test_board_requirements_are_a_part_of_the_project_dependencies() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    board = (ROOT / "requirements-board.txt").read_text().split()
    assert {line.split(">")[0] for line in board} == {"numpy", "numba", "pyserial", "crcmod-plus"}
    assert set(board) <= set(project["dependencies"])


def test_picture_is_there() -> None:
    for name in re.findall(r"!\[.*?\]\((.*?)\)", TEXT):
        assert (ROOT / name).stat().st_size < 600_000
