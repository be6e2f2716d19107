"""What is made of the rows of strikes on a whole machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from firmware_bridge.errors import ConfigError
from hil.campaign.machine_record import NULL, MachineHeader, MachineRow, MachineStore, StruckClass
from hil.report.machine_mix import machine_mix, mix_json, mix_of, mix_table

HEADER = MachineHeader(
    name="test",
    strike_key="k",
    model_digest="d",
    trials=4,
    inferences=2,
    memory_bytes=1 << 20,
    classes=(StruckClass(name="free", size_bytes=900), StruckClass(name="kernel code", size_bytes=100)),
    kernel="linux",
)
ENDS = {
    "free": ["MASKED", "MASKED", "MASKED", "MASKED"],
    "kernel code": ["REBOOT", "DEAD", "MASKED", "SDC_CRITICAL"],
    NULL: ["MASKED", "MASKED", "MASKED", "MASKED"],
}
ROWS = [
    MachineRow(trial=trial, struck=struck, bit=7, outcome=outcome)
    for struck, outcomes in ENDS.items()
    for trial, outcome in enumerate(outcomes)
]


def test_classes_add_up_by_their_size() -> None:
    mix = mix_of(HEADER, ROWS)
    assert mix.failures is not None
    assert mix.failures.best == pytest.approx(0.1 * 3 / 4)
    assert mix.outcome_shares["MASKED"] == pytest.approx(0.9 + 0.1 / 4)
    assert mix.outcome_shares["DEAD"] == pytest.approx(0.1 / 4)
    assert sum(mix.outcome_shares.values()) == pytest.approx(1.0)
    assert mix.null.failures.best == 0.0
    assert mix.null.failures.high > 0.3


def test_a_class_without_strikes_leaves_the_whole_open() -> None:
    mix = mix_of(HEADER, ROWS[:4])
    assert mix.failures is None
    assert mix_json(mix)["all"] is None
    assert "kernel code" in mix_table(mix)


def test_the_report_says_what_it_cannot_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    text = " ".join(mix_table(mix_of(HEADER, ROWS)).split())
    assert "2.8e-9 to 7.0e-9 cm2" in text
    assert "4 null strikes" in text
    assert "REBOOT" in text
    assert "HANG" not in text


def test_a_store_goes_on_where_it_stopped_and_refuses_another_campaign(tmp_path: Path) -> None:
    store = MachineStore(tmp_path, HEADER)
    for row in ROWS[:3]:
        store.append(row)
    with (tmp_path / "machine.jsonl").open("ab") as file:
        file.write(b'{"trial": 3, "stru')
    again = MachineStore(tmp_path, msgspec.structs.replace(HEADER, memory_bytes=5))
    assert again.done == {(0, "free"), (1, "free"), (2, "free")}
    again.append(ROWS[3])
    mix = machine_mix(tmp_path)
    assert mix.classes[0].outcomes == {"MASKED": 4}
    assert mix.header == HEADER
    with pytest.raises(ConfigError, match="another campaign"):
        MachineStore(tmp_path, msgspec.structs.replace(HEADER, strike_key="other"))
