"""What is made of the rows of strikes on a whole machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from firmware_bridge.errors import ConfigError
from hil.boards.qemu.memory_map import PageClass
from hil.campaign.machine_record import NULL, MachineHeader, MachineRow, MachineStore, StruckClass
from hil.campaign.machine_strikes import NO_PAGE, bits_at_once, chosen
from hil.report.machine_mix import machine_mix, mix_json, mix_of, mix_table
from hil.stats import clopper_pearson
from hil.stats.pooled import of_one
from hil.strikes import Stream

HEADER = MachineHeader(
    name="test",
    strike_key="k",
    model_digest="d",
    trials=4,
    density=0.0,
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
    MachineRow(trial=trial, struck=struck, bits=(7,), outcome=outcome)
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


def test_several_bits_at_once_are_reckoned_back_to_one() -> None:
    classes = tuple(msgspec.structs.replace(found, bits=8) for found in HEADER.classes)
    header = msgspec.structs.replace(HEADER, density=2.0, classes=classes)
    mix = mix_of(header, ROWS)
    (kernel,) = (found for found in mix.classes if found.name == "kernel code")
    assert kernel.failures.best == pytest.approx(1 - (1 - 0.75) ** (1 / 8))
    assert mix.failures is not None
    assert mix.failures.best == pytest.approx(0.1 * kernel.failures.best)
    assert mix.failures.low < mix.failures.best < mix.failures.high
    assert mix.outcome_shares["DEAD"] == pytest.approx(mix.failures.best / 3)
    assert sum(mix.outcome_shares.values()) == pytest.approx(1.0)
    assert "2 bits in each MiB" in mix_table(mix)


@pytest.mark.parametrize("p", [0.0, 0.003, 0.2, 1.0])
def test_pooled_shares_agree_with_a_simulation(p: float) -> None:
    items, trials = 10, 2000
    stream = Stream("pooled", 0)
    events = sum(any(stream.uniform() < p for _ in range(items)) for _ in range(trials))
    found = of_one(clopper_pearson(events, trials, 0.9999), items)
    assert found.low <= p <= found.high


@pytest.mark.parametrize(("density", "bits"), [(0.0, 1), (8.0, 4), (0.1, 1)])
def test_a_density_strikes_bits_by_size_and_at_least_one(density: float, bits: int) -> None:
    assert bits_at_once(PageClass(name="free", runs=((0, 1 << 18), (1 << 20, 1 << 18))), density) == bits


def test_only_parts_that_the_memory_has_can_be_chosen() -> None:
    classes = [PageClass(name=name, runs=((0, 4096),)) for name in ("free", NO_PAGE, "page tables")]
    assert [found.name for found in chosen(classes, ())] == ["free", "page tables"]
    assert chosen(classes, ("page tables",)) == (classes[2],)
    with pytest.raises(ConfigError, match="'kernel': the machine's memory has 'free', 'page tables'"):
        chosen(classes, ("kernel",))


def test_a_store_goes_on_where_it_stopped_and_refuses_another_campaign(tmp_path: Path) -> None:
    store = MachineStore(tmp_path, HEADER)
    for row in ROWS[:3]:
        store.append(row)
    with (tmp_path / "machine.jsonl").open("ab") as file:
        file.write(b'{"trial": 3, "stru')
    more = StruckClass(name="page tables", size_bytes=8)
    again = MachineStore(tmp_path, msgspec.structs.replace(HEADER, trials=6, classes=(HEADER.classes[0], more)))
    assert again.done == {(0, "free"), (1, "free"), (2, "free")}
    again.append(ROWS[3])
    mix = machine_mix(tmp_path)
    assert mix.classes[0].outcomes == {"MASKED": 4}
    assert mix.header == msgspec.structs.replace(HEADER, trials=6, classes=(*HEADER.classes, more))
    for other in ({"strike_key": "other"}, {"density": 2.0}):
        with pytest.raises(ConfigError, match="another campaign"):
            MachineStore(tmp_path, msgspec.structs.replace(HEADER, **other))
