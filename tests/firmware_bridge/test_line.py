import time
from itertools import pairwise
from math import sqrt
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import ConfigError, PortError
from firmware_bridge.line import BURST_BYTES, Impairment, LineSpec, NoisyLine, Wire

EVERYTHING = LineSpec(bit_error_rate=2e-3, deletion_rate=5e-3, duplication_rate=5e-3)


@given(st.integers(0, 2**30), st.lists(st.integers(0, 200), max_size=30))
def test_damage_depends_on_the_stream_and_not_on_how_it_is_cut(seed, cuts):
    data = Random(seed).randbytes(sum(cuts))
    whole = Impairment(seed, EVERYTHING)
    pieces = Impairment(seed, EVERYTHING)
    expected = whole.apply(data)
    got = b""
    for cut in cuts:
        got += pieces.apply(data[:cut])
        data = data[cut:]
    assert got == expected
    assert (pieces.flipped_bits, pieces.deleted_bursts) == (whole.flipped_bits, whole.deleted_bursts)


def test_other_seeds_do_other_damage():
    data = bytes(100_000)
    assert Impairment(1, EVERYTHING).apply(data) == Impairment(1, EVERYTHING).apply(data)
    assert Impairment(1, EVERYTHING).apply(data) != Impairment(2, EVERYTHING).apply(data)


def test_a_good_wire_changes_nothing():
    data = Random(1).randbytes(100_000)
    assert Impairment(1, LineSpec()).apply(data) == data


@pytest.mark.parametrize("rate", [1e-4, 1e-2, 0.3])
def test_flips_are_binomial(rate):
    bits = 80_000
    counts = []
    for seed in range(60):
        damaged = Impairment(seed, LineSpec(bit_error_rate=rate)).apply(bytes(bits // 8))
        counts.append(sum(byte.bit_count() for byte in damaged))
    mean, variance = bits * rate, bits * rate * (1 - rate)
    assert abs(sum(counts) / 60 - mean) < 5 * sqrt(variance / 60)
    spread = sum((count - mean) ** 2 for count in counts) / 60
    assert 0.4 < spread / variance < 1.9  # chi-square with 60 degrees of freedom, far outside 1e-5


def test_every_bit_of_a_byte_is_struck_alike():
    damaged = Impairment(3, LineSpec(bit_error_rate=0.05)).apply(bytes(40_000))
    for bit in range(8):
        hits = sum(byte >> bit & 1 for byte in damaged)
        assert abs(hits - 2000) < 5 * sqrt(2000)


def surviving_positions(seed: int, spec: LineSpec, count: int) -> list[int]:
    """Which bytes come out, in order: damage depends on positions only, so two passes tell each byte's number."""
    low = Impairment(seed, spec).apply(bytes(index & 0xFF for index in range(count)))
    high = Impairment(seed, spec).apply(bytes(index >> 8 & 0xFF for index in range(count)))
    return [first | second << 8 for first, second in zip(low, high, strict=True)]


def test_deletions_take_eight_bytes_in_a_row():
    positions = surviving_positions(5, LineSpec(deletion_rate=2e-4), 60_000)
    steps = [after - before for before, after in pairwise(positions)]
    gaps = [step - 1 for step in steps if step != 1]
    assert len(gaps) > 4
    assert set(gaps) == {BURST_BYTES}  # with this seed no two bursts overlap


def test_bursts_that_overlap_delete_their_union():
    positions = surviving_positions(1, LineSpec(deletion_rate=0.1), 20_000)
    gaps = [after - before - 1 for before, after in pairwise(positions) if after - before > 1]
    assert min(gaps) == BURST_BYTES
    assert max(gaps) > 2 * BURST_BYTES
    assert abs(len(positions) / 20_000 - 0.9**BURST_BYTES) < 0.03


def test_the_rate_of_deletions():
    wire = Impairment(1, LineSpec(deletion_rate=1e-3))
    wire.apply(bytes(1_000_000))
    assert abs(wire.deleted_bursts - 1000) < 5 * sqrt(1000)


def test_a_duplication_repeats_the_eight_bytes_before():
    positions = surviving_positions(2, LineSpec(duplication_rate=2e-4), 60_000)
    jumps = [index for index in range(1, len(positions)) if positions[index] != positions[index - 1] + 1]
    assert len(jumps) > 4
    for index in jumps:
        assert positions[index] == positions[index - 1] - BURST_BYTES + 1
    assert sorted(set(positions)) == list(range(60_000))
    assert len(positions) == 60_000 + BURST_BYTES * len(jumps)


# ---- time -----------------------------------------------------------------------------------------------------


def arrival_s(wire: Wire, total: int) -> float:
    got, now_s = 0, 0.0
    while got < total:
        now_s = wire.due_s
        got += len(wire.take(now_s))
    assert wire.due_s is None
    assert wire.queued_bytes == 0
    return now_s


@settings(max_examples=40)
@given(
    baud=st.floats(1200, 4e6),
    pieces=st.lists(st.integers(1, 3000), min_size=3, max_size=30),
    latency_s=st.floats(0, 1e-4),
)
def test_the_rate_is_a_tenth_of_the_baud_rate(baud, pieces, latency_s):
    """However the bytes are cut, as long as there are always some to send."""
    wire = Wire(1, LineSpec(baud=baud, latency_s=latency_s))
    for piece in pieces:
        wire.offer(bytes(piece), 0.0)
    total = sum(pieces)
    assert arrival_s(wire, total) - latency_s == pytest.approx(total * 10 / baud, rel=0.02)


def test_latency_is_added_once():
    wire = Wire(1, LineSpec(latency_s=0.3))
    wire.offer(bytes(10_000), 1.0)
    assert wire.take(1.29) == b""
    assert len(wire.take(1.31)) == 10_000


def test_an_idle_wire_saves_nothing_up():
    wire = Wire(1, LineSpec(baud=10_000))
    wire.offer(bytes(100), 0.0)
    wire.take(50.0)
    wire.offer(bytes(100), 100.0)
    assert arrival_s(wire, 100) == pytest.approx(100.1)


def test_batches_arrive_on_the_beat():
    wire = Wire(1, LineSpec(batch_s=0.016, baud=921_600))
    wire.offer(bytes(20_000), 0.0)
    while (due_s := wire.due_s) is not None:
        assert due_s / 0.016 == pytest.approx(round(due_s / 0.016))
        wire.take(due_s)


def test_stalls_hold_up_what_follows():
    wire = Wire(1, LineSpec(stall_rate=1e-3, stall_s=0.5))
    wire.offer(bytes(10_000), 0.0)
    assert 1.0 < arrival_s(wire, 10_000) < 12.0


@pytest.mark.parametrize(
    "values",
    [{"bit_error_rate": 1.0}, {"deletion_rate": -0.1}, {"latency_s": -1.0}, {"baud": 0.0}, {"stall_rate": 2.0}],
)
def test_impossible_lines_are_refused(values):
    with pytest.raises(ConfigError):
        LineSpec(**values)


# ---- the line that runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "pty"])
def test_bytes_cross_both_ways_unchanged(kind):
    data = Random(1).randbytes(30_000)
    with NoisyLine(LineSpec(latency_s=0.001), seed=1, kind=kind) as line:
        for source, sink in ((line.near, line.far), (line.far, line.near)):
            got = b""
            rest = data
            while len(got) < len(data):
                rest = rest[source.write_some(rest[:4000]) :] if rest else rest
                got += sink.read(timeout_s=0.01)
            assert got == data


@pytest.mark.parametrize("kind", ["memory", "pty"])
def test_the_running_line_is_never_faster_than_its_rate(kind):
    """That it is not slower either, on a machine with time for it, is a goal of the benchmarks."""
    baud, count = 921_600, 20_000
    with NoisyLine(LineSpec(baud=baud), seed=1, kind=kind) as line:
        start_s = time.monotonic()
        line.near.write(bytes(count))
        got = 0
        while got < count:
            got += len(line.far.read(timeout_s=1.0))
        took_s = time.monotonic() - start_s
    assert took_s >= 0.98 * count * 10 / baud


def test_the_running_line_does_the_damage_of_its_seed():
    spec = LineSpec(bit_error_rate=1e-3, deletion_rate=1e-3)
    data = Random(1).randbytes(3000)
    expected = Impairment(2 * 7, spec).apply(data)
    with NoisyLine(spec, seed=7) as line:
        line.near.write(data)
        got = b""
        while len(got) < len(expected):
            got += line.far.read(timeout_s=1.0)
        assert line.far.read(timeout_s=0.05) == b""
    assert got == expected


def test_a_hang_up_crosses_the_line():
    with NoisyLine(LineSpec(), seed=1) as line:
        line.near.close()
        deadline_s = time.monotonic() + 5
        with pytest.raises(PortError, match="vanished"):
            while time.monotonic() < deadline_s:
                line.far.read(timeout_s=0.1)
