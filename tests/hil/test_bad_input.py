"""Bad input, seen as a user sees it: a message that says what to do, the right exit code, and nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hil.campaign.collect import RunOptions, resume_campaign, run_campaign
from hil.campaign.store import read_rows
from hil.cli import main
from hil.commands.results import resumable
from hil.progress import ProgressEvent, silent
from hil.workloads import digits
from tests.campaigns import attempts, campaign, essence, run, write_campaign
from tests.tcp_node import tcp_node


def hil(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hil", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def refused(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("hil: ")  # progress may stand above
    for part in parts:
        assert part in done.stderr


def own_model(tmp_path: Path, model: Path, **inputs: np.ndarray) -> subprocess.CompletedProcess[str]:
    np.savez(tmp_path / "inputs.npz", **inputs)
    return hil("init", "--model", model, "--inputs", "inputs.npz", "made", cwd=tmp_path)


def test_truncated_model(tmp_path: Path) -> None:
    whole = digits("f32").model_path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    refused(hil("compile", "cut.onnx", "-o", "x.image", cwd=tmp_path), 2, "cut.onnx", "damaged")
    assert not (tmp_path / "x.image").exists()


def test_unsupported_operator_is_named_with_its_tensor_and_model(tmp_path: Path) -> None:
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["chosen"], name="pick")
    boxes = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 4, 4])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, 4])
    chosen = helper.make_tensor_value_info("chosen", TensorProto.INT64, ["n", 3])
    graph = helper.make_graph([node], "detector", [boxes, scores], [chosen])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "detector.onnx")
    done = hil("compile", "detector.onnx", "-o", "x.image", cwd=tmp_path)
    refused(done, 2, "NonMaxSuppression", "chosen", "detector.onnx")


def test_inputs_of_the_wrong_shape(tmp_path: Path) -> None:
    done = own_model(tmp_path, digits("f32").model_path, image=np.zeros((3, 1, 9, 9), np.float32))
    refused(done, 2, "image", "[3, 1, 9, 9]", "inputs.npz")
    assert not (tmp_path / "made" / "campaign.toml").exists()


def test_inputs_of_the_wrong_dtype(tmp_path: Path) -> None:
    done = own_model(tmp_path, digits("f32").model_path, image=np.zeros((3, 1, 8, 8), np.float64))
    refused(done, 2, "image", "float64", "float32")


def test_bad_toml_value(tmp_path: Path) -> None:
    path = write_campaign(tmp_path)
    path.write_text(path.read_text().replace("trials = 20", 'trials = "twenty"'))
    refused(hil("run", path, cwd=tmp_path), 2, "trials", "campaign.toml")


def test_missing_port(tmp_path: Path) -> None:
    done = hil("run", write_campaign(tmp_path), "--target", "serial:///dev/ttyNONE", cwd=tmp_path)
    refused(done, 3, "/dev/ttyNONE")
    assert "resume" not in done.stderr, "nothing was measured, and there it would fail again"


def test_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the write fails just so."""
    path = write_campaign(tmp_path, trials=80)
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (160_000, 160_000)); "
        "from hil.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "run", str(path), "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    refused(done, 4, "hil resume")
    kept = essence(read_rows(tmp_path / "run"))
    assert len(kept) > 10
    assert hil("resume", "run", cwd=tmp_path).returncode == 0
    whole = essence(run(campaign(tmp_path, trials=80), tmp_path / "whole"))
    assert essence(read_rows(tmp_path / "run")) == whole


def test_a_port_that_vanishes_for_good_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from firmware_bridge.errors import LinkError

    monkeypatch.setattr("hil.targets.link_session.RETURN_TIMEOUT_S", 0.5)
    described = campaign(tmp_path, trials=30)
    with tcp_node(tmp_path / "storage") as (url, node):

        def kill_the_node(event: ProgressEvent) -> None:
            if event.stage == "none" and event.done == 10:
                node.kill()
                node.wait()

        hint = pytest.raises(LinkError, match=r"is kept: continue with `hil resume .*run`")
        with hint as caught, resumable(tmp_path / "run"):
            run_campaign(described, out=tmp_path / "run", options=RunOptions(target=url), progress=kill_the_node)
    assert caught.value.exit_code == 3
    # What the node had answered before it was killed may still lie in the line.
    kept = essence(read_rows(tmp_path / "run"))
    assert 10 <= len(kept) < 30
    reference = essence(run(described, tmp_path / "sim"))
    assert kept == {key: reference[key] for key in kept}


def test_a_port_that_comes_back_goes_on_without_counting_twice(tmp_path: Path) -> None:
    """The node behind a TCP port is killed and started again on the same port: one attempt, no other difference."""
    described = campaign(tmp_path, trials=25)
    reference = essence(run(described, tmp_path / "sim"))
    storage = tmp_path / "storage"
    again: list[subprocess.Popen[bytes]] = []
    with tcp_node(storage) as (url, node):

        def restart_the_node(event: ProgressEvent) -> None:
            if event.stage == "parity" and event.done == 10 and not again:
                os.kill(node.pid, signal.SIGKILL)
                node.wait()
                command = [sys.executable, "-m", "node", "serve", "--port", url, "--storage", str(storage)]
                again.append(subprocess.Popen(command))

        try:
            options = RunOptions(target=url)
            run_campaign(described, out=tmp_path / "run", options=options, progress=restart_the_node)
        finally:
            for process in again:
                process.terminate()
                process.wait(10)
    rows = list(read_rows(tmp_path / "run"))
    assert len(attempts(rows)) == 1
    assert essence(rows) == reference


def test_a_run_on_a_lost_port_is_resumed_elsewhere_never(tmp_path: Path) -> None:
    """What was begun on one target is not finished on another by accident."""
    from firmware_bridge.errors import ConfigError

    described = campaign(tmp_path, trials=4)
    run(described, tmp_path / "run", "memory")
    with pytest.raises(ConfigError, match="target"):
        run_campaign(described, out=tmp_path / "run", options=RunOptions(target="sim"), progress=silent)
    resume_campaign(tmp_path / "run", progress=silent)


def test_a_run_that_measured_nothing_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_campaign(tmp_path / "desk", trials=2)
    for out in (tmp_path / "runs" / "one", tmp_path / "desk" / "two"):
        assert main(["run", str(path), "--target", "serial:///dev/ttyNOPE", "--out", str(out)]) == 3
        assert "no port /dev/ttyNOPE" in capsys.readouterr().err
    assert [folder.name for folder in tmp_path.iterdir()] == ["desk"]
    assert [file.name for file in (tmp_path / "desk").iterdir()] == ["campaign.toml"]
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "notes.txt").write_text("mine")
    assert main(["run", str(path), "--target", "serial:///dev/ttyNOPE", "--out", str(kept)]) == 3
    assert (kept / "notes.txt").exists(), "what was there before is left alone"


def test_a_run_on_a_board_without_what_the_campaign_requires(tmp_path: Path) -> None:
    path = write_campaign(tmp_path, trials=2)
    path.write_text(path.read_text().replace("inferences = 4", 'inferences = 4\nrequires = ["fan"]'))
    refused(hil("run", path, "--out", "made", cwd=tmp_path), 2, "requires = 'fan'", "capabilities")
    assert not (tmp_path / "made").exists()


def test_a_model_whose_weights_a_code_cannot_guard_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path = write_campaign(tmp_path, protections='[[protection]]\nname = "free"\ncode = "in_place_64_57"\n')
    done = hil("run", path, "--out", "out", cwd=tmp_path)
    refused(done, 2, "in_place_64_57", "region 'weights' of image 'digits_int8'", "take another code")
    assert not list(tmp_path.glob("out/*"))
