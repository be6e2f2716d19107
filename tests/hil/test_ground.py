"""What ground software makes of a run: packets, their database and metrics, judged by other people's readers."""

from __future__ import annotations

import io
import math
import re
import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from ccsdspy import FixedLength, PacketField
from ccsdspy.utils import split_by_apid
from space_packet_parser.generators import ccsds_generator
from space_packet_parser.xtce.definitions import XtcePacketDefinition
from space_packet_parser.xtce.validation import validate_xtce

from firmware_bridge.errors import ConfigError, DataError
from firmware_bridge.framing import encode_frame
from firmware_bridge.packets import decode_packet
from firmware_bridge.telemetry import HOUSEKEEPING, PacketLayout, PlainField
from firmware_bridge.transcript import Direction, Recorder
from hil.campaign.outcome import Outcome
from hil.campaign.record import HeatRow, TrialRow
from hil.campaign.store import read_header, read_rows
from hil.cli import main
from hil.ground.layouts import HEAT, LAYOUTS, TRIAL
from hil.ground.metrics import metrics
from hil.ground.packets import packets_of
from hil.ground.xtce import xtce
from tests.hil.synthetic_results import demo_like, header, task, timing, trial, write

PRIVATE_LINK_TYPE = 147


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return demo_like(tmp_path_factory.mktemp("ground") / "run", trials=20)


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ground") / "flightnode.xml"
    path.write_text(xtce(LAYOUTS))
    return path


def rows_of_kind(run: Path, kind: type) -> list:
    return [row for row in read_rows(run) if isinstance(row, kind)]


# ---- packets and their database -----------------------------------------------------------------------------------


def test_the_database_is_valid_by_the_official_schema(database: Path) -> None:
    found = validate_xtce(str(database))
    assert found.valid, found.errors


def test_a_stock_parser_reads_every_trial_and_slice(run: Path, database: Path) -> None:
    definition = XtcePacketDefinition.from_xtce(database)
    data = io.BytesIO(b"".join(packets_of(run)))
    parsed = [definition.parse_bytes(raw) for raw in ccsds_generator(data)]
    trials = [each for each in parsed if each["PKT_APID"] == TRIAL.apid]
    slices = [each for each in parsed if each["PKT_APID"] == HEAT.apid]
    order = [record.name for record in read_header(run).tasks]
    expected = rows_of_kind(run, TrialRow)
    assert [each["Trial_outcome"] for each in trials] == [row.outcome for row in expected]
    assert [each["Trial_trial"] for each in trials] == [row.trial for row in expected]
    assert [order[each["Trial_protection"]] for each in trials] == [row.protection for row in expected]
    assert [each["Trial_elapsed"] for each in trials] == [
        row.timing.elapsed_us if row.timing else 0 for row in expected
    ]
    heats = rows_of_kind(run, HeatRow)
    assert [each["Heat_temperature"] for each in slices] == pytest.approx(
        [row.temperature_c for row in heats], rel=1e-6
    )
    assert [each["SRC_SEQ_CTR"] for each in slices] == list(range(len(heats)))


def test_a_second_reader_agrees(run: Path) -> None:
    streams = split_by_apid(io.BytesIO(b"".join(packets_of(run))))
    assert set(streams) == {TRIAL.apid, HEAT.apid}
    names = {"u8": "uint", "u16": "uint", "u32": "uint", "f32": "float"}
    fields = [PacketField(each.name, names[each.kind], each.bits) for each in TRIAL.fields]
    table = FixedLength(fields).load(streams[TRIAL.apid])
    expected = rows_of_kind(run, TrialRow)
    assert list(table["corrected_words"]) == [row.corrected_words for row in expected]
    assert [list(Outcome)[number].value for number in table["outcome"]] == [row.outcome for row in expected]


def capture(packets: list[bytes]) -> bytes:
    """A capture file (libpcap's classic format) of Space Packets under the first link type for private use."""
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, PRIVATE_LINK_TYPE)
    return header + b"".join(struct.pack("<IIII", n, 0, len(raw), len(raw)) + raw for n, raw in enumerate(packets))


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed (Debian package tshark)")
def test_a_protocol_analyser_reads_the_headers(run: Path, tmp_path: Path) -> None:
    packets = list(packets_of(run))
    (tmp_path / "run.pcap").write_bytes(capture(packets))
    names = ("version", "type", "secheader", "apid", "seqflag", "seqnum", "length")
    layers = f'uat:user_dlts:"User 0 (DLT={PRIVATE_LINK_TYPE})","ccsds","0","","0",""'
    columns = [word for name in names for word in ("-e", f"ccsds.{name}")]
    command = ["tshark", "-n", "-r", str(tmp_path / "run.pcap"), "-o", layers, "-T", "fields", *columns]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    read = [[int(value, 0) for value in line.split()] for line in done.stdout.splitlines()]
    ours = [decode_packet(raw) for raw in packets]
    assert read == [
        [0, each.type, 0, each.apid, each.flags, each.sequence, len(each.data) - 1] for each in ours if each is not None
    ]
    assert {row[3] for row in read} == {TRIAL.apid, HEAT.apid}


def test_a_packet_of_unknown_kind_is_not_mistaken_for_one(database: Path) -> None:
    stranger = PacketLayout(apid=0x155, name="S", meaning="", fields=(PlainField(name="a", kind="u8", meaning=""),))
    definition = XtcePacketDefinition.from_xtce(database)
    (raw,) = ccsds_generator(io.BytesIO(stranger.packet({"a": 1}, 0)))
    with pytest.raises(Exception, match="abstract"):
        definition.parse_bytes(raw)


def test_floats_have_the_name_that_every_consumer_knows(database: Path) -> None:
    assert set(re.findall(r'FloatDataEncoding[^>]*encoding="(\w+)"', database.read_text())) == {"IEEE754_1985"}


def test_packets_are_ours_and_read_back(run: Path) -> None:
    packets = list(packets_of(run))
    decoded = [decode_packet(packet) for packet in packets]
    assert all(each is not None for each in decoded)
    assert TRIAL.values(packets[0])["trial"] == rows_of_kind(run, TrialRow)[0].trial


def test_what_was_not_measured_is_nan_and_what_is_too_large_is_cut(tmp_path: Path) -> None:
    silent = trial("none", 0, "DEAD", timing=None)
    long = trial("none", 1, timing=timing(elapsed_us=2**40), wrong=tuple(range(70_000)))
    first, second = (
        TRIAL.values(each) for each in packets_of(write(tmp_path / "r", header(task("none")), silent, long))
    )
    assert math.isnan(first["plant_temperature"])
    assert first["elapsed"] == 0
    assert (second["elapsed"], second["wrong"]) == (2**32 - 1, 2**16 - 1)


def test_values_must_be_there() -> None:
    with pytest.raises(DataError, match="packet Trial: 'protection'"):
        TRIAL.packet({}, 0)
    with pytest.raises(DataError, match="has 6 bytes"):
        TRIAL.values(b"abcdef")


# ---- metrics ------------------------------------------------------------------------------------------------------


def samples(text: str) -> dict[str, float]:
    """The samples of an exposition; every line must be a sample, HELP or TYPE, in families."""
    found, family = {}, ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
        elif line.startswith("# TYPE "):
            assert re.fullmatch(rf"# TYPE {family} (counter|gauge)", line)
            assert line.endswith("counter") == family.endswith("_total")
        else:
            held = re.fullmatch(r'(\w+)(\{(?:\w+="(?:[^"\\\n]|\\[\\"n])*",?)+\}) (\S+)', line)
            assert held, line
            assert held[1] == family
            assert held[1] + held[2] not in found
            found[held[1] + held[2]] = float(held[3])
    return found


def test_metrics_count_what_the_rows_hold(run: Path) -> None:
    found = samples(metrics(run))
    name = read_header(run).name
    counts = Counter((row.protection, row.outcome) for row in rows_of_kind(run, TrialRow))
    for (protection, outcome), number in counts.items():
        key = f'flightnode_trials_total{{run="{name}",protection="{protection}",outcome="{outcome}"}}'
        assert found[key] == number
    assert sum(value for key, value in found.items() if key.startswith("flightnode_trials_total")) == sum(
        counts.values()
    )
    assert found[f'flightnode_attempts_failed_total{{run="{name}"}}'] == 1
    assert found[f'flightnode_link_retransmitted_total{{run="{name}"}}'] == 3
    last = rows_of_kind(run, HeatRow)[-1]
    assert found[f'flightnode_plant_temperature_celsius{{run="{name}"}}'] == pytest.approx(last.temperature_c)


def test_a_run_under_way_has_metrics_and_awkward_names_are_escaped(tmp_path: Path) -> None:
    awkward = task('a "b" \\ c')
    run = write(tmp_path / "r", header(awkward, name="two\nlines"), trial(awkward.name, 0), trial(awkward.name, 0))
    found = samples(metrics(run))
    key = 'flightnode_trials_total{run="two\\nlines",protection="a \\"b\\" \\\\ c",outcome="MASKED"}'
    assert found[key] == 1, "a trial counts once"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)")
def test_promtool_finds_nothing_to_mend(run: Path, tmp_path: Path, capsys) -> None:
    """In a complete run, in one that has just begun, and in one under way whose names want escaping."""
    awkward = task('a "b" \\ c')
    begun = write(tmp_path / "begun", header(awkward))
    under_way = write(tmp_path / "under way", header(awkward, name="two\nlines"), trial(awkward.name, 0))
    for each in (run, begun, under_way):
        assert main(["export", "metrics", str(each)]) == 0
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=capsys.readouterr().out, text=True, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


# ---- commands -----------------------------------------------------------------------------------------------------


def test_the_commands_write_what_the_functions_give(run: Path, tmp_path: Path, capsys) -> None:
    assert main(["export", "xtce"]) == 0
    assert capsys.readouterr().out == xtce(LAYOUTS)
    assert main(["export", "metrics", str(run)]) == 0
    assert capsys.readouterr().out == metrics(run)
    assert main(["export", "packets", str(run), "--out", str(tmp_path / "p")]) == 0
    assert (tmp_path / "p").read_bytes() == b"".join(packets_of(run))


@pytest.mark.parametrize("kind", ["packets", "metrics"])
def test_a_directory_without_a_run_is_named(tmp_path: Path, kind: str, capsys) -> None:
    assert main(["export", kind, str(tmp_path)]) == ConfigError.exit_code
    assert str(tmp_path) in capsys.readouterr().err


def test_what_a_node_sent_is_taken_out_of_a_transcript(tmp_path: Path, database: Path, capsys) -> None:
    packet = HOUSEKEEPING.packet({field.name: 3 for field in HOUSEKEEPING.fields}, 9)
    recorder = Recorder((tmp_path / "line.fntr").open("wb"), "host", 0.0)
    recorder.passed(Direction.RECEIVED, b"login: \0" + encode_frame(packet) + encode_frame(b"not a packet"), 1.0)
    recorder.close()
    assert main(["transcript", "packets", str(tmp_path / "line.fntr"), "--out", str(tmp_path / "p")]) == 0
    assert "1 packets" in capsys.readouterr().out
    (raw,) = ccsds_generator(io.BytesIO((tmp_path / "p").read_bytes()))
    parsed = XtcePacketDefinition.from_xtce(database).parse_bytes(raw)
    assert (parsed["PKT_APID"], parsed["SRC_SEQ_CTR"]) == (HOUSEKEEPING.apid, 9)
    assert parsed["Housekeeping_clock"] == 3.0
    assert parsed["Housekeeping_boot_id"] == 3
