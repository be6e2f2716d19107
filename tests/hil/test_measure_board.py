"""Measuring a node: every target gives the same lines, and each time is the node's own."""

from __future__ import annotations

import json
from functools import cache

import msgspec
import pytest

from firmware_bridge.errors import DataError, Refused
from firmware_bridge.measuring import Measure, Quantity
from hil.boards.cost_profile import ON_BUFFERS, CostProfile, read_profile
from hil.boards.measure import MeasureOptions, measure_board
from hil.campaign.configuration import load_campaign
from hil.campaign.workload import Workload, load_workload
from hil.cli import main
from hil.progress import silent
from hil.scaffold import CAMPAIGN_FILE, EXAMPLES
from hil.targets.sim_session import SimSession
from hil.targets.target import open_session
from node.measure import board_text, measure
from node.protection import Protection

CODES = ("none", "hsiao_72_64", "in_place_64_57", "tmr")
OPTIONS = MeasureOptions(seconds_each=0.0, codes=CODES, large_bytes=65_536, protections={"again": Protection()})


@cache
def workload() -> Workload:
    return load_workload(load_campaign(EXAMPLES / CAMPAIGN_FILE))


def measured(target: str) -> CostProfile:
    with open_session(target, silent) as session:
        return measure_board(session, workload().image, workload().inputs_file(), OPTIONS, silent)


@pytest.mark.parametrize("target", ["sim", "pty"])
def test_every_target_gives_a_line_for_each_step_code_and_kind_of_work(target: str) -> None:
    found = measured(target)
    image = workload().image
    sizes = {len(image.weights), 65_536}
    lines = {(cost.work, cost.of, cost.size_bytes) for cost in found.costs}
    assert len(lines) == len(found.costs)
    assert {line for line in lines if line[0] in ON_BUFFERS} == {
        (work, code, size) for work in ON_BUFFERS for code in CODES for size in sizes
    }
    assert {line[1] for line in lines if line[0] == "step"} == {f"{i} {n}" for i, n in enumerate(image.step_names)}
    assert {line[1] for line in lines if line[0] == "inference"} == {"", "again"}
    assert {line[0] for line in lines} >= {"clock", "read", "pass", "save", "restore", "reload", "reset"}
    assert found.board.target == target
    assert found.board.name == board_text()  # all of them run on this machine
    assert found.model.digest == image.digest
    assert {memory.code: memory.check_bytes / memory.data_bytes for memory in found.memory}["tmr"] == 2.0


def test_more_work_takes_more_time() -> None:
    """Factors of ten and more, so that no load of the machine matters."""
    with SimSession() as session:
        session.prepare(workload().image.to_bytes(), workload().inputs_file())

        def median_ns(quantity: Quantity, code: str = "", size_bytes: int = 0) -> int:
            request = Measure(quantity=quantity, code=code, size_bytes=size_bytes, repeats=9)
            return sorted(session.measure(request).samples_ns)[4]

        clock = median_ns(Quantity.CLOCK)
        assert median_ns(Quantity.INFERENCE) > 5 * clock
        for quantity in (Quantity.ENCODE, Quantity.CHECK, Quantity.SCRUB, Quantity.CORRECT):
            assert median_ns(quantity, "hsiao_72_64", 1 << 24) > 10 * median_ns(quantity, "hsiao_72_64", 1 << 14)


def test_memory_is_as_before_once_it_was_timed() -> None:
    with SimSession() as session:
        session.prepare(workload().image.to_bytes(), workload().inputs_file())
        session.configure(Protection(code="hsiao_72_64", checkpoint_period=1), 60_000)
        for quantity in Quantity:
            request = Measure(quantity=quantity, code="hsiao_72_64", size_bytes=4096, repeats=3)
            assert len(session.measure(request).samples_ns) == 3
        computer = session._resident._service._computer
        assert computer.arena.u8.tobytes() == computer._pristine.tobytes()


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (Measure(quantity=Quantity.ENCODE, code="hamming", size_bytes=64), DataError, "no code 'hamming'; choose from"),
        (Measure(quantity=Quantity.CHECK, code="tmr", size_bytes=0), DataError, "size_bytes = 0: give 64"),
        (Measure(quantity=Quantity.READ, size_bytes=1 << 31), DataError, "give 64 to"),
        (Measure(quantity=Quantity.CLOCK, repeats=0), DataError, "repeats = 0"),
        (Measure(quantity=Quantity.CLOCK, repeats=5000), DataError, "give 1 to 4096"),
        (Measure(quantity=Quantity.INFERENCE), Refused, "no image is loaded"),
    ],
)
def test_what_cannot_be_timed_is_refused(request_: Measure, error: type[Exception], message: str) -> None:
    def nothing() -> None:
        raise Refused("no image is loaded")

    with pytest.raises(error, match=message):
        measure(request_, nothing, nothing)


def test_steps_and_checkpoints_that_are_not_there_are_refused() -> None:
    with SimSession() as session:
        session.prepare(workload().image.to_bytes(), workload().inputs_file())
        with pytest.raises(Refused, match="the model has steps 0 to"):
            session.measure(Measure(quantity=Quantity.STEP, step=900))
        with pytest.raises(Refused, match="SAVE: configure a protection with checkpoint_period"):
            session.measure(Measure(quantity=Quantity.SAVE))


def test_the_command_writes_the_profile_that_it_prints(tmp_path, capsys) -> None:
    out = tmp_path / "cpu.cost.toml"
    given = ["measure", "--seconds", "0", "--code", "tmr", "-o", str(out)]
    assert main([*given, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["board"]["target"] == "sim"
    assert json.loads(msgspec.json.encode(read_profile(out))) == printed
    assert main([*given, "--target", "nowhere"]) == 2
    assert main([*given, "--code", "hamming"]) == 2
    assert "no code 'hamming'; choose from" in capsys.readouterr().err
    assert main(["measure", "--code", "tmr", "-o", str(tmp_path / "a" / "b.toml")]) == 2
    assert "choose another -o" in capsys.readouterr().err
