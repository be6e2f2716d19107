"""Telemetry that stock ground software reads: Space Packets of plain fields, one after the other, big-endian.

No secondary header: some tools read one as that of the ISS. Times are in the fields.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import DataError
from .messages import Telemetry
from .packets import COUNT_MODULUS, HEADER_BYTES, PacketType, SequenceFlags, SpacePacket, encode_packet

KINDS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "f32": "f"}


@dataclass(frozen=True, kw_only=True)
class PlainField:
    """One field: its wire type, unit, meaning, and what the numbers of an enumeration stand for."""

    name: str
    kind: str
    meaning: str
    unit: str = ""
    labels: tuple[str, ...] = ()

    @property
    def bits(self) -> int:
        """Its length."""
        return 8 * struct.calcsize(">" + KINDS[self.kind])


@dataclass(frozen=True, kw_only=True)
class PacketLayout:
    """One kind of packet: its APID and the fields after the primary header.

    Examples
    --------
    >>> layout = PacketLayout(apid=0x123, name="T", meaning="", fields=(PlainField(name="a", kind="u16", meaning=""),))
    >>> layout.packet({"a": 258}, count=7).hex(" ")
    '01 23 c0 07 00 01 01 02'
    """

    apid: int
    name: str
    meaning: str
    fields: tuple[PlainField, ...]

    def packet(self, values: Mapping[str, float], count: int) -> bytes:
        """Give the Space Packet; ``count`` is taken modulo 16384. Integers beyond their field are cut to its largest.

        Raises
        ------
        DataError
            If a value is missing or of the wrong kind.
        """
        try:
            held = [_fitted(field, values[field.name]) for field in self.fields]
            data = struct.pack(self._format, *held)
        except (KeyError, struct.error) as error:
            raise DataError(f"packet {self.name}: {error}") from error
        return encode_packet(
            SpacePacket(PacketType.TELEMETRY, self.apid, SequenceFlags.UNSEGMENTED, count % COUNT_MODULUS, data)
        )

    def values(self, packet: bytes) -> dict[str, float]:
        """Give the fields of a packet of this kind.

        Raises
        ------
        DataError
            If it has another length.
        """
        if len(packet) != HEADER_BYTES + struct.calcsize(self._format):
            raise DataError(f"packet {self.name} has {len(packet)} bytes")
        numbers = struct.unpack_from(self._format, packet, HEADER_BYTES)
        return {field.name: number for field, number in zip(self.fields, numbers, strict=True)}

    @property
    def _format(self) -> str:
        return ">" + "".join(KINDS[field.kind] for field in self.fields)


def _fitted(field: PlainField, value: float) -> float:
    return value if field.kind == "f32" else min(int(value), (1 << field.bits) - 1)


HOUSEKEEPING = PacketLayout(
    apid=0x120,
    name="Housekeeping",
    meaning="The node's state, sent unasked at a period and never repeated.",
    fields=(
        PlainField(name="boot_id", kind="u64", meaning="drawn anew at each start of the computer"),
        PlainField(name="uptime", kind="u32", unit="ms", meaning="since the computer's start"),
        PlainField(name="plant_temperature", kind="f32", unit="degC", meaning="as the host says; NaN if it does not"),
        PlainField(name="board_temperature", kind="f32", unit="degC", meaning="of the board's sensor; NaN without one"),
        PlainField(name="clock", kind="f32", unit="MHz", meaning="of the processor; NaN if unknown"),
        PlainField(name="clock_ratio", kind="f32", meaning="share of the full clock that is allowed"),
        PlainField(name="throttled", kind="u32", meaning="bits of get_throttled"),
        PlainField(name="load", kind="f32", meaning="share of the time spent computing since the telemetry before"),
        PlainField(name="inferences", kind="u32", meaning="since the computer's start"),
        PlainField(name="corrected_words", kind="u32", meaning="codewords repaired"),
        PlainField(name="detected_words", kind="u32", meaning="codewords found wrong and not repaired"),
        PlainField(name="reloads", kind="u32", meaning="memory loaded again"),
        PlainField(name="alarms", kind="u32", meaning="checks on the computation that failed"),
        PlainField(name="recomputed_steps", kind="u32", meaning="operators run again because of an alarm"),
    ),
)


def housekeeping_packet(telemetry: Telemetry, boot_id: int, count: int) -> bytes:
    """Give the packet that says what a telemetry message says."""
    values = {
        "boot_id": boot_id,
        "uptime": telemetry.uptime_ms,
        "plant_temperature": telemetry.plant_c,
        "board_temperature": telemetry.board_c,
        "clock": telemetry.clock_mhz,
        "clock_ratio": telemetry.clock_ratio,
        "throttled": telemetry.throttled,
        "load": telemetry.load,
        "inferences": telemetry.inferences,
        "corrected_words": telemetry.corrected_words,
        "detected_words": telemetry.detected_words,
        "reloads": telemetry.reloads,
        "alarms": telemetry.alarms,
        "recomputed_steps": telemetry.recomputed_steps,
    }
    return HOUSEKEEPING.packet(values, count)
