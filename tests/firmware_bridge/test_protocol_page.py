"""PROTOCOL.md as the second implementation: its code blocks are run, and its tables are compared with the code."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import firmware_bridge
from firmware_bridge import codec
from firmware_bridge.apids import APID_ACK, APID_BULK, APID_SYNC, APID_URGENT
from firmware_bridge.bridge import SILENCE_S
from firmware_bridge.framing import (
    MAX_BODY,
    MAX_ENCODED,
    MIN_BODY,
    FrameDecoder,
    cobs_decode,
    cobs_encode,
    encode_frame,
)
from firmware_bridge.link import ABANDONED_S, ACK_DELAY_S, ACK_EVERY, RIDE_DELAY_S, Link
from firmware_bridge.packets import SpacePacket, decode_packet, encode_packet
from firmware_bridge.responder import CAPACITY
from firmware_bridge.session import LINK_VERSION, SyncKind
from firmware_bridge.streams import MAX_MESSAGE, WINDOW
from tests.firmware_bridge.test_codec import IDS, MESSAGES

PAGE = (Path(firmware_bridge.__file__).parent / "PROTOCOL.md").read_text()


def reference() -> SimpleNamespace:
    """The page's program."""
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    return SimpleNamespace(**{name: value for name, value in names.items() if not name.startswith("_")})


REF = reference()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
MESSAGE_ROWS = {
    int(row[0]): (row[1], row[2]) for row in ROWS if len(row) == 3 and row[0].isdecimal() and row[1][0].isupper()
}
PARTS = {row[0]: row[1] for row in ROWS if len(row) == 2 and f"\n{row[0]}: " in codec.catalogue()}


# ---- tables ---------------------------------------------------------------------------------------------------


def test_the_message_table_is_the_code():
    expected = {
        number: (cls.__name__, codec.describe_fields(cls) or "-") for number, cls in codec.MESSAGE_TYPES.items()
    }
    assert expected == MESSAGE_ROWS


def test_the_catalogue_can_be_made_from_the_page():
    lines = [f"{number} {name}: {text.replace('-', '')}" for number, (name, text) in sorted(MESSAGE_ROWS.items())]
    lines += [f"{name}: {PARTS[name]}" for name in sorted(PARTS)]
    assert "\n".join(lines) == codec.catalogue()


@pytest.mark.parametrize(
    "statement",
    [
        f"{MIN_BODY} to {MAX_BODY} bytes",
        f"({MAX_ENCODED} bytes)",
        f"At most {WINDOW} packets",
        f"last {CAPACITY} replies",
        f"| version | u8 | {LINK_VERSION} |",
        f"| {APID_SYNC:#x} | SYNC",
        f"| {APID_ACK:#x} | ACK",
        f"| {APID_URGENT:#x} | stream 0, URGENT",
        f"| {APID_BULK:#x} | stream 1, BULK",
        f"{SyncKind.OPEN} OPEN and {SyncKind.PROBE} PROBE",
        f"{SyncKind.CONFIRM} CONFIRM and {SyncKind.UNKNOWN} UNKNOWN",
        f"at most 2^{MAX_MESSAGE.bit_length() - 1} bytes",
        f"heard nothing for {ABANDONED_S:g} s",
        f"{ACK_DELAY_S * 1000:g} ms after a packet at the latest, and at once after {ACK_EVERY} packets",
        f"own next packet instead, {RIDE_DELAY_S * 1000:g} ms at most",
        f"no good frame is heard for {SILENCE_S:g} s",
        "0xCBF43926",
    ],
)
def test_numbers_in_the_text_are_those_of_the_code(statement):
    assert statement in PAGE


# ---- layer by layer -------------------------------------------------------------------------------------------


@given(st.binary(max_size=700) | st.integers(0, 800).map(lambda size: b"\x01" * size))
def test_cobs(data):
    assert cobs_decode(REF.cobs(data)) == data
    assert REF.uncobs(cobs_encode(data)) == data
    assert REF.uncobs(REF.cobs(data)) == data


@given(st.binary(min_size=MIN_BODY, max_size=MAX_BODY))
def test_frames(body):
    assert FrameDecoder().feed(REF.to_frame(body)) == [body]
    assert REF.from_frame(encode_frame(body)) == body


def test_a_damaged_frame_is_refused_by_the_page_too():
    frame = bytearray(encode_frame(b"a good packet"))
    frame[5] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        REF.from_frame(bytes(frame))
    with pytest.raises(ValueError, match="cut short"):
        REF.uncobs(b"\x05ab")


@given(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 2047),
        st.integers(0, 3),
        st.integers(0, 16383),
        st.binary(min_size=1, max_size=99),
    )
)
def test_packets(packet):
    body = encode_packet(SpacePacket(*packet))
    assert REF.to_packet(*packet) == body
    assert REF.from_packet(body) == packet == decode_packet(body)
    with pytest.raises(ValueError, match="not a packet"):
        REF.from_packet(body + b"x")


def as_values(message):
    """A message as the plain dictionaries the page's encoder takes."""
    if is_dataclass(message):
        return {field.name: as_values(getattr(message, field.name)) for field in fields(message)}
    if isinstance(message, tuple):
        return [as_values(item) for item in message]
    return message


@given(MESSAGES, IDS)
def test_messages(message, request_id):
    number = codec.TYPE_NUMBERS[type(message)]
    data = REF.to_message(number, request_id, MESSAGE_ROWS[number][1], as_values(message), PARTS)
    assert data == codec.encode(message, request_id)


# ---- the page as a host and as a node ------------------------------------------------------------------------------


def packets_of(data):
    return [REF.from_packet(REF.from_frame(part)) for part in data.split(b"\0") if part]


def test_the_page_opens_a_session_sends_a_message_and_reads_the_acknowledgement():
    node = Link("node")
    nonce = 0xDEADBEEF
    node.receive(REF.to_frame(REF.to_packet(1, 0x100, 3, 0, REF.to_sync(0, nonce))), 0.0)
    [(kind, apid, flags, _, answer)] = packets_of(node.to_transmit(0.0))
    assert (kind, apid, flags) == (0, 0x100, 3)
    assert answer == REF.to_sync(1, nonce, codec.catalogue_crc())
    message = Random(1).randbytes(2000)
    parts = list(REF.to_parts(1, nonce, message))
    for index, body in enumerate(parts):
        if index != 4:
            node.receive(REF.to_frame(body), 0.1)
    acks = [packet for packet in packets_of(node.to_transmit(0.2)) if packet[1] == 0x101]
    tag, echo, blocks = REF.from_ack(acks[-1][4])
    assert (tag, echo) == (nonce & 0xFFFF, len(parts) - 1)
    assert blocks == {0: (0, WINDOW, []), 1: (4, WINDOW, list(range(5, len(parts))))}
    assert node.received() == []
    node.receive(REF.to_frame(parts[4]), 0.3)
    assert node.received() == [message]
    urgent = b"overtaking"
    node.receive(REF.to_frame(next(REF.to_parts(1, nonce, urgent, urgent=True))), 0.3)
    assert node.received() == [urgent]


def test_the_page_reads_what_a_node_sends():
    node = Link("node")
    node.receive(REF.to_frame(REF.to_packet(1, 0x100, 3, 0, REF.to_sync(0, 7))), 0.0)
    node.to_transmit(0.0)
    message = Random(2).randbytes(1000)
    node.send(message)
    packets = packets_of(node.to_transmit(0.1))
    assert [packet[2] for packet in packets] == [1] + [0] * (len(packets) - 2) + [2]
    assert [packet[3] for packet in packets] == list(range(len(packets)))
    assert [int.from_bytes(packet[4][2:4], "big") for packet in packets] == list(range(len(packets)))
    assert b"".join(packet[4][4:] for packet in packets) == message


def test_what_the_page_says_of_unknown_sessions():
    node = Link("node")
    node.receive(REF.to_frame(next(REF.to_parts(1, 0x12345678, b"hello"))), 0.0)
    [(_, apid, _, _, answer)] = packets_of(node.to_transmit(0.0))
    assert apid == 0x100
    assert answer == REF.to_sync(2, 0x5678, codec.catalogue_crc())
