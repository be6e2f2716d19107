import math
import struct
import typing
from dataclasses import fields, replace
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import codec
from firmware_bridge import messages as m
from firmware_bridge.errors import DataError
from firmware_bridge.loading import BlobKind, LoadBegin, LoadChunk, LoadStatus

RANGES = {"u8": 2**8, "u16": 2**16, "u32": 2**32, "u64": 2**64}


def values(hint):
    """Every value that fits a field."""
    wire = codec._wire_type(hint)
    if wire in RANGES:
        return st.integers(0, RANGES[wire] - 1)
    if wire is not None:
        return {
            "f32": st.floats(width=32, allow_nan=False),
            "text": st.text(max_size=30),
            "blob": st.binary(max_size=60),
            "flag": st.booleans(),
        }[wire]
    if typing.get_origin(hint) is tuple:
        return st.lists(values(typing.get_args(hint)[0]), max_size=5).map(tuple)
    if issubclass(hint, IntEnum):
        return st.sampled_from(hint)
    return instances(hint)


def instances(cls):
    hints = typing.get_type_hints(cls, include_extras=True)
    return st.builds(cls, **{field.name: values(hints[field.name]) for field in fields(cls)})


MESSAGES = st.one_of([instances(cls) for cls in codec.TYPE_NUMBERS])
IDS = st.integers(0, 2**32 - 1)
RESULT = m.RunResult(
    run_id=1,
    inferences=(m.Inference(delivery=m.Delivery.DELIVERED, output=b"abc"),) * 4,
    readbacks=(m.Readback(before=1, after=3),) * 3,
    checked_words=2**40,
    corrected_words=1,
    detected_words=2,
    reloads=3,
    rollbacks=4,
    lost_inferences=5,
    saves=6,
    alarms=0,
    recomputed_steps=0,
    elapsed_us=7,
    busy_us=8,
    protect_us=9,
    save_us=10,
    verify_us=11,
    restore_us=12,
    respond_us=0,
    clock_mhz=1500.0,
    throttled=0x50005,
    plant_c=71.5,
    board_c=math.inf,
    board_mhz=600.0,
    board_throttled=m.FLAGS_UNKNOWN,
)


@given(MESSAGES, IDS)
def test_every_message_comes_back_equal(message, request_id):
    assert codec.decode(codec.encode(message, request_id)) == (message, request_id)


@given(MESSAGES, IDS, st.data())
def test_a_message_cut_short_or_too_long_is_refused(message, request_id, data):
    whole = codec.encode(message, request_id)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(DataError):
        codec.decode(whole[:cut])
    with pytest.raises(DataError, match="ends after"):
        codec.decode(whole + b"\x00")


@given(st.binary(max_size=80), st.sampled_from(sorted(codec.MESSAGE_TYPES)))
def test_any_bytes_give_a_message_that_encodes_back_or_a_data_error(data, number):
    data = bytes([number]) + data
    try:
        message, request_id = codec.decode(data)
    except DataError:
        return
    again = codec.encode(message, request_id)
    assert len(again) == len(data)
    if b"\x7f" not in data and b"\xff" not in data:  # no NaN, which has more than one encoding
        assert again == data


def test_numbers_are_fixed():
    """A released number never changes its meaning."""
    assert {cls.__name__: number for cls, number in codec.TYPE_NUMBERS.items()} == {
        "HelloRequest": 1,
        "LoadBegin": 2,
        "LoadChunk": 3,
        "Configure": 4,
        "Inject": 5,
        "SetTemperature": 6,
        "SetThrottleLimits": 7,
        "Run": 8,
        "Scrub": 9,
        "Checkpoint": 10,
        "Restore": 11,
        "TelemetryRequest": 12,
        "Reset": 13,
        "TimeRequest": 14,
        "Infer": 15,
        "Measure": 16,
        "Hello": 129,
        "LoadStatus": 130,
        "Done": 131,
        "Injected": 132,
        "RunResult": 133,
        "ScrubReport": 134,
        "CheckpointReport": 135,
        "Telemetry": 136,
        "Progress": 137,
        "Abnormal": 138,
        "Failed": 139,
        "TimeReport": 140,
        "Inferred": 141,
        "Measured": 142,
    }
    assert set(codec.TYPE_NUMBERS) == set(typing.get_args(m.Message))


def test_layout_by_hand():
    fault = m.Fault(strike=0x01020304, region="w", bit=9, kind=m.FaultKind.STUCK_AT_1, inference=2, step=3)
    expected = b"\x05" + struct.pack(">II", 0xAABBCCDD, 1)
    expected += struct.pack(">I", 0x01020304) + struct.pack(">H", 1) + b"w" + struct.pack(">QBHH", 9, 2, 2, 3)
    assert codec.encode(m.Inject(faults=(fault,)), 0xAABBCCDD) == expected


def test_nan_survives():
    got, _ = codec.decode(codec.encode(m.SetTemperature(celsius=math.nan), 1))
    assert math.isnan(got.celsius)


def test_a_big_result_comes_back():
    assert codec.decode(codec.encode(RESULT, 9)) == (RESULT, 9)


@pytest.mark.parametrize(
    "message",
    [
        m.Readback(before=1, after=2),
        "text",
        m.HelloRequest(protocol=65536),
        m.HelloRequest(protocol=-1),
        m.HelloRequest(protocol=1.5),
        m.HelloRequest(protocol="1"),
        m.SetTemperature(celsius=1e39),
        m.SetTemperature(celsius="hot"),
        m.Configure(protection="x" * 65536),
        m.Configure(protection="\ud800"),
        m.Configure(protection=b"bytes"),
        LoadChunk(kind=BlobKind.IMAGE, offset=0, data="text"),
        LoadChunk(kind=9, offset=0, data=b""),
        m.Run(run_id=0, inputs=(2**32,)),
        m.Run(run_id=0, inputs=("a",)),
        m.Run(run_id=0, inputs=None),
        m.Run(run_id=0, inputs=(), faults=(1,)),
        m.Inject(faults=(m.Fault(strike=1, region="w", bit=2**64),)),
        m.Inject(faults=(m.Fault(strike=1, region="w", bit=0, kind=7),)),
    ],
)
def test_values_that_do_not_fit_are_refused(message):
    with pytest.raises(DataError):
        codec.encode(message, 1)


@pytest.mark.parametrize("request_id", [-1, 2**32, None])
def test_request_ids_are_u32(request_id):
    with pytest.raises(DataError):
        codec.encode(m.Done(), request_id)


def corrupted(message, at, value):
    data = bytearray(codec.encode(message, 1))
    data[at] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "at least"),
        (b"\x01\x00\x00\x00", "at least"),
        (b"\xfa\x00\x00\x00\x01", "250"),
        (corrupted(LoadStatus(received=1, complete=True), -1, 2), "LoadStatus"),
        (corrupted(LoadBegin(kind=BlobKind.IMAGE, size=1, crc32=1), 5, 2), "LoadBegin"),
        (corrupted(m.Failed(text="ab"), -1, 0xFF), "Failed"),
        (corrupted(m.Run(run_id=1, inputs=(1,)), 9, 0xFF), "cut short"),
        (corrupted(m.Inject(faults=()), 5, 0xFF), "cut short"),
        (corrupted(LoadChunk(kind=BlobKind.IMAGE, offset=0, data=b"x"), 10, 9), "cut short"),
    ],
)
def test_bytes_that_are_no_message_are_refused(data, text):
    with pytest.raises(DataError, match=text):
        codec.decode(data)


def test_the_catalogue_changes_with_any_field():
    lines = codec.catalogue().splitlines()
    assert "137 Progress: stage text, done u32, total u32" in lines
    assert "5 Inject: faults list of Fault" in lines
    assert "FaultKind: u8: 0 FLIP, 1 STUCK_AT_0, 2 STUCK_AT_1, 3 INTERRUPT" in lines
    assert "Readback: before u8, after u8" in lines
    nested = {"AbnormalKind", "BlobKind", "Delivery", "Fault", "FaultKind", "Inference", "Quantity", "Readback"}
    assert {line.split(":")[0] for line in lines[len(codec.TYPE_NUMBERS) :]} == nested
    assert codec.catalogue_crc() == codec.crc32(codec.catalogue().encode())


def test_equal_messages_are_equal_values():
    assert replace(RESULT, reloads=0) != RESULT
    assert codec.encode(replace(RESULT, reloads=0), 1) != codec.encode(RESULT, 1)
