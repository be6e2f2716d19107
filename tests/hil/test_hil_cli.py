"""The command line: quick to start, one exit code a kind of trouble, never a traceback."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from firmware_bridge.errors import (
    ConfigError,
    DataError,
    FlightNodeError,
    Interrupted,
    LinkLost,
    ModelError,
    PortError,
    Refused,
)
from hil import cli
from hil.boards import bench_file
from hil.campaign import collect
from hil.campaign.record import TrialRow
from hil.campaign.store import read_rows
from hil.cli import COMMANDS, main
from hil.commands.compile import parse_shapes
from hil.commands.results import new_directory
from hil.scaffold import write_example
from hil.workloads import digits

HEAVY = ("numpy", "numba", "onnx", "rich", "msgspec", "serial", "jinja2")
SMALL = """
[campaign]
name = "small"
trials = 3
inferences = 2
[workload]
model = "builtin:digits_f32"
[[protection]]
name = "parity"
code = "parity"
"""


def python(*arguments: str, cwd: Path | None = None, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, timeout=timeout_s, check=False
    )


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    path = tmp_path / "campaign.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a small campaign that was run by the command line."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "campaign.toml").write_text(SMALL)
    assert main(["run", str(folder / "campaign.toml"), "--out", str(folder / "run"), "--json"]) == 0
    return folder / "run"


# ---- starting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom hil.cli import main\ncode = main(sys.argv[1:])\n"
        f"held = [name for name in {HEAVY!r} if name in sys.modules]\nassert not held, held\nsys.exit(code)"
    )
    ended = python("-c", code, *arguments)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
    assert not ended.stderr


def test_help_names_every_command_and_exit_code() -> None:
    shown = CliRunner().invoke(cli.cli, ["--help"])
    assert shown.exit_code == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name}\s+\S", shown.output, re.MULTILINE)
    assert "..." not in shown.output.partition("Options:")[2]
    assert "3  port, link or board lost" in shown.output


def test_every_command_file_is_listed() -> None:
    files = {path.stem for path in Path(cli.__file__).with_name("commands").glob("*.py")}
    assert files == {*COMMANDS, "__init__", "progress", "results", "waiting"}


def test_the_module_is_the_command() -> None:
    ended = python("-m", "hil", "runn")
    assert ended.returncode == 2
    assert "No such command 'runn'" in ended.stderr


# ---- exit codes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FlightNodeError("it says this"), 1),
        (ConfigError("it says this"), 2),
        (ModelError("it says this"), 2),
        (DataError("it says this"), 2),
        (PortError("it says this"), 3),
        (LinkLost("it says this"), 3),
        (Refused("it says this"), 3),
        (Interrupted("it says this"), 4),
    ],
)
def test_an_error_of_the_tree_is_a_message_and_its_code(
    error: FlightNodeError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(collect, "resume_campaign", fail)
    assert main(["resume", "somewhere"]) == code
    assert capsys.readouterr().err == "hil: it says this\n"


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(collect, "resume_campaign", fail)


def test_a_bug_is_one_line_unless_debugging(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, ZeroDivisionError("oops"))
    assert main(["resume", "somewhere"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "internal error: ZeroDivisionError: oops" in shown
    assert "--debug" in shown
    assert main(["--debug", "resume", "somewhere"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert main(["resume", "some/where"]) == 4
    said = capsys.readouterr().err
    assert said == "hil: interrupted: what was measured is kept; continue with `hil resume some/where`\n"


def test_an_interrupt_elsewhere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hil.doctor.examine", stop)
    assert main(["doctor"]) == 4
    assert capsys.readouterr().err == "hil: interrupted\n"


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (
            OSError(28, "No space left on device", "/x/report.html"),
            4,
            "/x/report.html: No space left on device; make room",
        ),
        (OSError(28, "No space left on device"), 4, "No space left on device; make room"),
        (PermissionError(13, "Permission denied", "/x/y"), 2, "/x/y: Permission denied; check that path"),
        (IsADirectoryError(21, "Is a directory", "/x"), 2, "/x: Is a directory"),
        (OSError("strange"), 1, "internal error"),
    ],
)
def test_trouble_of_the_system_is_named(
    error: OSError, code: int, part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, error)
    assert main(["resume", "somewhere"]) == code
    assert part in capsys.readouterr().err


def test_a_reader_that_leaves_is_not_mentioned(finished: Path) -> None:
    node = subprocess.Popen(
        [sys.executable, "-m", "hil", "export", "trials", str(finished)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert node.stdout is not None
    assert node.stderr is not None
    node.stdout.close()
    with node.stderr as errors:
        assert errors.read() == b""
    assert node.wait(60) == 0


BAD = [
    (["run", "absent.toml"], 2, "hil init --example"),
    (["run", "."], 2, "is a directory"),
    (["run", "campaign.toml", "--target", "simm"], 2, "did you mean 'sim'?"),
    (["run", "campaign.toml", "--target", "bench:pi"], 2, "no bench.toml"),
    (["run", "campaign.toml", "--target", "serial:///dev/absent0"], 3, "no port /dev/absent0"),
    (["run", "campaign.toml", "--target", "tcp://127.0.0.1:1"], 3, "tcp://127.0.0.1:1"),
    (["run", "campaign.toml", "--trials", "0"], 2, "--trials"),
    (["run", "campaign.toml", "--trials", "many"], 2, "--trials"),
    (["run", "campaign.toml", "--workers", "0"], 2, "--workers"),
    (["run", "campaign.toml", "--out", "campaign.toml"], 2, "choose another --out"),
    (["run"], 2, "CAMPAIGN"),
    (["resume", "absent"], 2, "absent"),
    (["resume", "."], 2, "give the directory of a run"),
    (["report", "absent"], 2, "absent"),
    (["replay", "absent", "none", "0"], 2, "absent"),
    (["replay", ".", "none", "-1"], 2, "TRIAL"),
    (["export", "trials", "absent"], 2, "absent"),
    (["export", "everything", "."], 2, "No such command"),
    (["compile", "absent.onnx", "-o", "x.image"], 2, "absent.onnx"),
    (["compile", "campaign.toml", "-o", "x.image"], 2, "campaign.toml"),
    (["compile", "m.onnx", "-o", "x.image", "--input-shape", "image"], 2, "write NAME=1,3,32,32"),
    (["compile", "m.onnx", "-o", "x.image", "--input-shape", "image=1,-1"], 2, "sizes of 1 or more"),
    (["init", "here"], 2, "--example"),
    (["init", "here", "--example", "--model", "m.onnx"], 2, "--example"),
    (["init", "here", "--model", "m.onnx"], 2, "--inputs FILE.npz"),
    (["init", "here", "--example", "--labels", "y.npy"], 2, "go with --model"),
    (["init", "here", "--model", "absent.onnx", "--inputs", "absent.npz"], 2, "absent.onnx: no such file"),
    (["--unknown"], 2, "--unknown"),
]


@pytest.mark.parametrize(("arguments", "code", "part"), BAD, ids=[" ".join(case[0]) for case in BAD])
def test_bad_input_gives_a_message_and_a_code(
    arguments: list[str],
    code: int,
    part: str,
    campaign: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(campaign.parent)
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert part in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert "internal error" not in captured.err


# ---- the commands ----------------------------------------------------------------------------------------------


def test_a_campaign_from_start_to_end(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(finished)]) == 0
    shown = capsys.readouterr().out
    assert f"results  {finished}" in shown
    report = Path(re.search(r"^report +(.+)$", shown, re.MULTILINE)[1])  # type: ignore[index]
    assert report.is_file()
    assert report.suffix == ".html"
    assert main(["resume", str(finished), "--json"]) == 0
    resumed = json.loads(capsys.readouterr().out)
    assert main(["report", str(finished), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == resumed
    tasks = {task["protection"]: task for task in resumed["tasks"]}
    assert list(tasks) == ["none", "parity", "null", "oracle", "restore"]
    for task in tasks.values():
        assert task["trials"] == 3
        assert sum(task["outcomes"].values()) == 3
        for estimate in task["estimates"].values():
            assert set(estimate) >= {"low", "best", "high"}


def test_trials_are_exported(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "trials", str(finished)]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(line["protection"], line["trial"]) for line in lines} >= {("none", "0"), ("restore", "2")}
    struck = {
        name: [(line["strike"], line["faults"]) for line in lines if line["protection"] == name]
        for name in ("none", "restore", "null")
    }
    assert struck["none"]
    assert all(faults == "" for _, faults in struck["null"])


def test_a_trial_is_replayed(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(finished), "parity", "1"]) == 0
    assert "trial 1 of parity" in capsys.readouterr().out
    assert main(["replay", str(finished), "parity", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agrees"] is True
    assert main(["replay", str(finished), "paritee", "1"]) == 2
    assert main(["replay", str(finished), "parity", "3"]) == 2


def test_a_replay_says_why(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {(row.protection, row.trial): row for row in read_rows(finished) if isinstance(row, TrialRow)}
    for (name, trial), row in rows.items():
        if row.strikes:
            assert main(["replay", str(finished), name, str(trial), "--trace"]) == 0
            why = capsys.readouterr().out.split("why        ")[1].splitlines()[0]
            assert ("reached an output" in why) == bool(row.wrong)
            assert ("withheld" in why) == (bool(row.withheld) and not row.wrong)
            assert ("repaired or" in why) == (row.corrected_words > 0 and not row.withheld and not row.wrong)
    assert main(["replay", str(finished), "parity", "1", "--no-trace"]) == 0
    assert capsys.readouterr().out.startswith("outcome ")


def test_a_replay_that_disagrees_fails(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forged = tmp_path / "forged"
    forged.mkdir()
    (forged / "record.json").write_bytes((finished / "record.json").read_bytes())
    (forged / "campaign").symlink_to(finished / "campaign")
    rows = (finished / "rows.jsonl").read_text()
    (forged / "rows.jsonl").write_text(re.sub(r'"outcome":"\w+"', '"outcome":"DEAD"', rows))
    assert main(["replay", str(forged), "parity", "1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["agrees"] is False


def test_a_plan_runs_nothing(
    campaign: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(campaign.parent)
    assert main(["run", "campaign.toml", "--plan"]) == 0
    assert "15 trials" in capsys.readouterr().out
    target = "serial:///dev/absent0?baud=115200"
    assert main(["run", "campaign.toml", "--plan", "--json", "--trials", "7", "--target", target]) == 0
    assert json.loads(capsys.readouterr().out)["total_trials"] == 35
    assert not (campaign.parent / "runs").exists()


def test_the_default_directory_is_new_and_below_runs(
    campaign: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(campaign.parent)
    assert main(["run", "campaign.toml", "--trials", "1"]) == 0
    assert "report" in capsys.readouterr().out
    (run,) = (campaign.parent / "runs").iterdir()
    assert re.fullmatch(r"\d{8}T\d{6}Z-small", run.name)
    assert new_directory("a b/../ü").name.endswith("Z-a-b----ü")


def test_a_board_of_the_bench_file(
    campaign: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    monkeypatch.setattr(collect, "run_campaign", lambda *_, **settings: seen.append(settings["options"]))
    monkeypatch.setattr("hil.commands.results.print_results", lambda *_, **__: None)
    (campaign.parent / "bench.toml").write_text('[[board]]\nname = "desk"\nurl = "tcp://127.0.0.1:9"\n')
    arguments = ["--target", "bench:desk", "--workers", "2", "--trials", "9", "--out", str(campaign.parent / "out")]
    assert main(["run", str(campaign), *arguments]) == 0
    assert seen == [collect.RunOptions(target="bench:desk", trials=9, workers=2)], "by name, for its power hooks"
    assert capsys.readouterr().err == ""


def test_a_model_is_compiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from node.model.image import Image

    image = tmp_path / "digits.image"
    assert main(["compile", str(digits("f32").model_path), "-o", str(image), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["digest"] == Image.load(image).digest
    assert facts["inputs"] == {"image": ["float32", [1, 1, 8, 8]]}
    assert main(["compile", str(digits("f32").model_path), "-o", str(tmp_path / "no/folder.image")]) == 2
    assert parse_shapes(("a=1,2", "b=c=3")) == {"a": (1, 2), "b=c": (3,)}


def test_an_example_is_written_and_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--example", "new", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"written": ["new/campaign.toml", "new/bench.toml"]}
    assert main(["run", "new/campaign.toml", "--plan", "--target", "bench:pty", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 1000
    assert main(["init", "--example", "new"]) == 2


def test_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_example(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["devices", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert "pty" in listed["targets"]
    assert [board["name"] for board in listed["boards"]] == ["sim", "pty"]
    assert main(["devices"]) == 0
    printed = capsys.readouterr().out
    assert "bench:pty" in printed
    heads = [line.split()[0] for line in printed.splitlines() if line and not line.startswith(" ")]
    assert heads == ["what", "serial", "boards"]
    monkeypatch.chdir("/")
    monkeypatch.setattr(bench_file, "ports_of_this_machine", lambda: ())
    assert main(["devices"]) == 0
    assert "none: plug the adapter in\n\nno boards: no bench.toml here" in capsys.readouterr().out


def test_the_demo_is_the_example_over_a_pty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        collect, "run_campaign", lambda campaign, *, out, options, progress: seen.append((campaign, out, options))
    )
    monkeypatch.setattr("hil.commands.results.print_results", lambda *_, **__: None)
    assert main(["demo"]) == 0
    assert main(["demo", "--trials", "5", "--out", "here"]) == 0
    (campaign, out, options), (_, given, fewer) = seen
    assert campaign.campaign.trials >= 1000
    assert options == collect.RunOptions(target="pty")
    assert re.fullmatch(r"\d{8}T\d{6}Z-demo", out.name)
    assert given == Path("here")
    assert fewer.trials == 5
    assert capsys.readouterr().err == ""


# ---- a real Ctrl-C ---------------------------------------------------------------------------------------------


def test_ctrl_c_keeps_what_was_measured_and_resume_finishes_it(campaign: Path) -> None:
    run = campaign.parent / "run"
    campaign.write_text(SMALL.replace("trials = 3", "trials = 3000"))
    child = subprocess.Popen(
        [sys.executable, "-m", "hil", "run", str(campaign), "--out", str(run)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    rows = run / "rows.jsonl"
    deadline_s = time.monotonic() + 100
    while child.poll() is None and (not rows.exists() or rows.stat().st_size < 20_000):
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGINT)
    out, errors = child.communicate(timeout=60)
    assert child.returncode == 4, errors
    assert out == ""
    assert errors.endswith(f"continue with `hil resume {run}`\n")
    assert "Traceback" not in errors
    held = rows.read_text().count("\n")
    assert 0 < held < 15_000
    assert main(["resume", str(run), "--json"]) == 0
    assert rows.read_text().count('"type":"trial"') == 15_000
