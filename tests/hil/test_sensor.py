"""A temperature sensor that fails: its readings, and what a node does that believes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError
from hil.campaign.configuration import load_campaign
from hil.campaign.record import HeatRow
from hil.campaign.store import read_rows
from hil.environment.sensor import COLDEST_C, HOTTEST_C, Sensor
from hil.environment.thermal_run import ThermalSchedule, run_thermal
from hil.report.answer import answer
from hil.report.summary import summarise
from tests.campaigns import run, write_campaign
from tests.hil.synthetic_results import header, heat, task, write
from tests.hil.test_thermal_run import FakeNode

HOT = ThermalSchedule(duration_s=8.0, acceleration=30.0, ambient=((0.0, 70.0),))


def loop(fault: str, from_s: float = 0.0):
    node = FakeNode()
    rows = run_thermal(
        node, replace(HOT, sensor_fault=fault, sensor_fault_s=from_s), clock=node.clock, inferences_per_run=50
    )
    return node, rows


def test_readings_are_right_until_the_fault():
    for fault in ("none", "stuck", "wild", "missing"):
        sensor = Sensor(fault, 3.0)
        assert [sensor.reading(s, 20.0 + s) for s in (0.0, 1.0, 2.9)] == [20.0, 21.0, 22.9]


def test_each_fault_in_its_way():
    assert Sensor("none").reading(99.0, 50.0) == 50.0
    assert Sensor("missing", 1.0).reading(1.0, 50.0) is None
    stuck = Sensor("stuck")
    assert [stuck.reading(0.0, 30.0), stuck.reading(5.0, 90.0)] == [30.0, 30.0]
    wild = Sensor("wild")
    readings = [wild.reading(float(s), 50.0) for s in range(2000)]
    assert min(readings) < COLDEST_C + 2
    assert max(readings) > HOTTEST_C - 2
    assert all(COLDEST_C <= reading <= HOTTEST_C for reading in readings)
    again = Sensor("wild")
    assert [again.reading(float(s), 50.0) for s in range(2000)] == readings


def test_a_node_that_believes_a_stuck_sensor_overheats():
    _, right = loop("none")
    _, stuck = loop("stuck")
    assert min(row.clock_ratio for row in right) < 1.0
    assert {row.clock_ratio for row in stuck} == {1.0}
    assert max(row.temperature_c for row in stuck) > max(row.temperature_c for row in right)
    assert {row.sent_c for row in stuck} == {stuck[0].sent_c}
    assert all(row.sent_c == row.temperature_c for row in right)


def test_a_missing_sensor_sends_nothing():
    node, rows = loop("missing", from_s=2.0)
    silent = [row for row in rows if row.sent_c is None]
    assert silent
    assert all(row.wall_s >= 2.0 for row in silent)
    assert len(node.temperatures_c) == 1 + len(rows) - len(silent)


def test_a_wild_sensor_throttles_a_cool_node():
    node = FakeNode()
    schedule = replace(HOT, ambient=((0.0, 10.0),), sensor_fault="wild")
    rows = run_thermal(node, schedule, clock=node.clock, inferences_per_run=50)
    assert max(row.temperature_c for row in rows) < 80.0
    assert min(row.clock_ratio for row in rows) < 1.0


@pytest.mark.parametrize("bad", [{"sensor_fault": "broken"}, {"sensor_fault_s": -1.0}])
def test_bad_faults_name_the_key(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        ThermalSchedule(**bad)
    if "sensor_fault" in bad:
        with pytest.raises(ConfigError, match="broken"):
            Sensor("broken")


def test_a_campaign_records_the_fault_and_warns_of_it(tmp_path: Path):
    path = write_campaign(tmp_path, trials=1, protections='\n[[protection]]\nname = "tmr"\ncode = "tmr"\n')
    fault = "[heat]\nduration_s = 0.4\nslice_s = 0.1\nsensor_fault = 'missing'\nsensor_fault_s = 0.2\n"
    path.write_text(path.read_text() + fault)
    rows = [row for row in run(load_campaign(path), tmp_path / "run") if isinstance(row, HeatRow)]
    assert [row.sensor_fault == "missing" for row in rows] == [row.sent_c is None for row in rows]
    assert {row.sensor_fault for row in rows} == {"", "missing"}
    assert any("sensor was missing" in warning for warning in answer(summarise(tmp_path / "run")).warnings)
    assert list(read_rows(tmp_path / "run"))


def test_a_sound_sensor_is_no_warning(tmp_path: Path):
    warnings = answer(summarise(write(tmp_path, header(task("none", "none")), heat(0, 60.0)))).warnings
    assert not any("sensor" in warning for warning in warnings)
