"""The board's sensors on a made-up system tree with a made-up ``vcgencmd``."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

from node.vitals import NONE, Sensors, Vitals

ANSWERS = {
    ("get_throttled",): "throttled=0xe0008\n",
    ("measure_clock", "arm"): "frequency(48)=795123456\n",
}


class Firmware:
    """Stands in for ``vcgencmd``: answers and counts."""

    def __init__(self, answers=ANSWERS) -> None:
        self.answers = dict(answers)
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, arguments) -> str:
        program, *rest = arguments
        assert program.endswith("vcgencmd")
        self.asked.append(tuple(rest))
        answer = self.answers[tuple(rest)]
        if isinstance(answer, Exception):
            raise answer
        return answer


def system(root: Path, *, zones=(("cpu-thermal", "61331\n"),), clock="1100000\n", vcgencmd=False) -> None:
    for number, (kind, temperature) in enumerate(zones):
        zone = root / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"{kind}\n")
        (zone / "temp").write_text(temperature)
    if clock is not None:
        domain = root / "sys/devices/system/cpu/cpufreq/policy0"
        domain.mkdir(parents=True)
        (domain / "scaling_cur_freq").write_text(clock)
    if vcgencmd:
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/vcgencmd").touch()


def assert_nothing(vitals: Vitals) -> None:
    assert math.isnan(vitals.temperature_c)
    assert math.isnan(vitals.clock_mhz)
    assert vitals.throttled is None
    assert {vitals.temperature_source, vitals.clock_source, vitals.throttled_source} == {NONE}


def test_a_system_without_sensors_gives_nothing_and_says_so(tmp_path):
    assert_nothing(Sensors(tmp_path).read())


def test_thousandths_become_degrees_and_megahertz(tmp_path):
    system(tmp_path)
    vitals = Sensors(tmp_path).read()
    assert (vitals.temperature_c, vitals.temperature_source) == (61.331, "thermal_zone0")
    assert (vitals.clock_mhz, vitals.clock_source) == (1100.0, "scaling_cur_freq")
    assert (vitals.throttled, vitals.throttled_source) == (None, NONE)


def test_each_reading_is_fresh(tmp_path):
    system(tmp_path)
    sensors = Sensors(tmp_path)
    sensors.read()
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").write_text("-2500\n")
    assert sensors.read().temperature_c == -2.5


def test_the_zone_of_the_cpu_goes_before_others(tmp_path):
    system(tmp_path, zones=(("acpitz", "20000"), ("iwlwifi", "30000"), ("x86_pkg_temp", "40000")))
    vitals = Sensors(tmp_path).read()
    assert (vitals.temperature_c, vitals.temperature_source) == (40.0, "thermal_zone2")


def test_without_one_the_first_zone_serves(tmp_path):
    system(tmp_path, zones=(("acpitz", "20000"), ("iwlwifi", "30000")))
    assert Sensors(tmp_path).read().temperature_source == "thermal_zone0"


def test_a_sensor_that_answers_nonsense_or_vanishes_is_no_sensor(tmp_path):
    system(tmp_path, zones=(("cpu-thermal", "<unknown>\n"),))
    sensors = Sensors(tmp_path)
    (tmp_path / "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq").unlink()
    assert_nothing(sensors.read())


def test_the_firmware_knows_the_clock_better_than_the_kernel(tmp_path):
    system(tmp_path, vcgencmd=True)
    vitals = Sensors(tmp_path, Firmware()).read()
    assert (vitals.clock_mhz, vitals.clock_source) == (795.123456, "vcgencmd measure_clock arm")
    assert (vitals.throttled, vitals.throttled_source) == (0xE0008, "vcgencmd get_throttled")


def test_the_firmware_is_asked_once_a_second(tmp_path):
    system(tmp_path, vcgencmd=True)
    firmware, now_s = Firmware(), [100.0]
    sensors = Sensors(tmp_path, firmware, lambda: now_s[0])
    for now_s[0] in (100.0, 100.5, 100.99):
        assert sensors.read().throttled == 0xE0008
    assert len(firmware.asked) == 2
    firmware.answers["get_throttled",] = "throttled=0x0\n"
    now_s[0] = 101.0
    assert sensors.read().throttled == 0
    assert len(firmware.asked) == 4


def test_without_the_program_nothing_is_run(tmp_path):
    system(tmp_path)
    firmware = Firmware()
    Sensors(tmp_path, firmware).read()
    assert firmware.asked == []


def test_a_program_that_fails_leaves_the_kernels_figure(tmp_path):
    system(tmp_path, vcgencmd=True)
    firmware = Firmware(
        {
            ("get_throttled",): subprocess.CalledProcessError(255, "vcgencmd"),
            ("measure_clock", "arm"): PermissionError("/dev/vcio"),
        }
    )
    vitals = Sensors(tmp_path, firmware).read()
    assert (vitals.clock_mhz, vitals.clock_source) == (1100.0, "scaling_cur_freq")
    assert (vitals.throttled, vitals.throttled_source) == (None, NONE)


def test_an_answer_of_another_form_is_no_answer(tmp_path):
    system(tmp_path, clock=None, vcgencmd=True)
    firmware = Firmware({("get_throttled",): "VCHI failed\n", ("measure_clock", "arm"): "error=1\n"})
    vitals = Sensors(tmp_path, firmware).read()
    assert math.isnan(vitals.clock_mhz)
    assert vitals.throttled is None


def test_a_real_program_is_run_with_its_arguments(tmp_path):
    system(tmp_path, vcgencmd=True)
    program = tmp_path / "usr/bin/vcgencmd"
    program.write_text(
        '#!/bin/sh\ncase "$*" in "measure_clock arm") echo "frequency(0)=600000000";; '
        '"get_throttled") echo "throttled=0x20002";; *) exit 1;; esac\n'
    )
    program.chmod(0o755)
    vitals = Sensors(tmp_path).read()
    assert (vitals.clock_mhz, vitals.throttled) == (600.0, 0x20002)
