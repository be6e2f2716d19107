"""Messages to bytes and back, from the annotations of :mod:`firmware_bridge.messages`.

A message on the wire is its type (u8), the request id (u32) and its fields in the order of the class, big-endian.
For each class an encoder and a decoder are built once; runs of fixed-size fields become one ``struct``.
"""

from __future__ import annotations

import struct
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import IntEnum
from functools import cache
from operator import attrgetter
from typing import Any

from . import messages as m
from .crc import crc32
from .errors import DataError
from .loading import LoadBegin, LoadChunk, LoadStatus
from .measuring import Measure, Measured

TYPE_NUMBERS: dict[type[Any], int] = {
    m.HelloRequest: 1,
    LoadBegin: 2,
    LoadChunk: 3,
    m.Configure: 4,
    m.Inject: 5,
    m.SetTemperature: 6,
    m.SetThrottleLimits: 7,
    m.Run: 8,
    m.Scrub: 9,
    m.Checkpoint: 10,
    m.Restore: 11,
    m.TelemetryRequest: 12,
    m.Reset: 13,
    m.TimeRequest: 14,
    m.Infer: 15,
    Measure: 16,
    m.Hello: 129,
    LoadStatus: 130,
    m.Done: 131,
    m.Injected: 132,
    m.RunResult: 133,
    m.ScrubReport: 134,
    m.CheckpointReport: 135,
    m.Telemetry: 136,
    m.Progress: 137,
    m.Abnormal: 138,
    m.Failed: 139,
    m.TimeReport: 140,
    m.Inferred: 141,
    Measured: 142,
}
"""The number of each message on the wire. Numbers are never used again for something else."""

MESSAGE_TYPES = {number: cls for cls, number in TYPE_NUMBERS.items()}
ENVELOPE = struct.Struct(">BI")

_SCALARS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "f32": "f", "flag": "?"}
_FLAGS = {0: False, 1: True}

_Encode = Callable[[Any, list[bytes]], None]
_Decode = Callable[[bytes, int], tuple[Any, int]]
_Codec = tuple[_Encode, _Decode]
_built: dict[type[Any], _Codec] = {}


def encode(message: m.Message, request_id: int) -> bytes:
    """The message's bytes, envelope included.

    Raises
    ------
    DataError
        If the message is of no known type, or a value does not fit its field.

    Examples
    --------
    >>> encode(m.SetTemperature(celsius=25.5), 7).hex(" ")
    '06 00 00 00 07 41 cc 00 00'
    """
    cls: type[Any] = type(message)
    number = TYPE_NUMBERS.get(cls)
    if number is None:
        raise DataError(f"{cls.__name__} is not a message of the protocol")
    out: list[bytes] = []
    try:
        out.append(ENVELOPE.pack(number, request_id))
        _dataclass_codec(cls)[0](message, out)
    except (struct.error, AttributeError, TypeError, OverflowError, ValueError) as error:
        raise DataError(f"{cls.__name__} has a value that does not fit its field: {error}") from error
    return b"".join(out)


def decode(data: bytes) -> tuple[m.Message, int]:
    """The message in ``data`` and its request id.

    Raises
    ------
    DataError
        If the type is unknown, bytes are missing or left over, or a value is out of range.
    """
    if len(data) < ENVELOPE.size:
        raise DataError(f"a message has at least {ENVELOPE.size} bytes, not {len(data)}")
    number, request_id = ENVELOPE.unpack_from(data)
    cls = MESSAGE_TYPES.get(number)
    if cls is None:
        raise DataError(f"message type {number} is not known to protocol {m.PROTOCOL_VERSION}")
    try:
        message, end = _dataclass_codec(cls)[1](data, ENVELOPE.size)
    except (struct.error, ValueError, KeyError) as error:
        raise DataError(f"{cls.__name__} cannot be read: {error}") from error
    if end != len(data):
        raise DataError(f"{cls.__name__} ends after {end} bytes, but {len(data)} came")
    return message, request_id


def catalogue() -> str:
    """Every message with its number and wire fields, then the values inside them, one a line.

    Two ends must have the same.
    """
    lines = [f"{number} {cls.__name__}: {describe_fields(cls)}" for number, cls in sorted(MESSAGE_TYPES.items())]
    parts: dict[str, str] = {}
    for cls in MESSAGE_TYPES.values():
        _describe_parts(cls, parts)
    return "\n".join(lines + [f"{name}: {parts[name]}" for name in sorted(parts)])


@cache
def catalogue_crc() -> int:
    """CRC-32 of :func:`catalogue`, which the two ends compare when a session starts."""
    return crc32(catalogue().encode())


def describe_fields(cls: type) -> str:
    """The fields of a message or of a value inside one as ``name type, name type``.

    Examples
    --------
    >>> describe_fields(m.Progress)
    'stage text, done u32, total u32'
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    return ", ".join(f"{field.name} {_type_name(hints[field.name])}" for field in fields(cls))


def _type_name(hint: Any) -> str:
    wire = _wire_type(hint)
    if wire is not None:
        return wire
    if typing.get_origin(hint) is tuple:
        return f"list of {_type_name(typing.get_args(hint)[0])}"
    return str(hint.__name__)


def _describe_parts(cls: type[Any], parts: dict[str, str]) -> None:
    """Add the enums and nested values that ``cls`` uses to ``parts``."""
    for hint in typing.get_type_hints(cls, include_extras=True).values():
        inner = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
        if _wire_type(inner) is not None:
            continue
        if issubclass(inner, IntEnum):
            parts[inner.__name__] = "u8: " + ", ".join(f"{member.value} {member.name}" for member in inner)
        else:
            parts[inner.__name__] = describe_fields(inner)
            _describe_parts(inner, parts)


def _wire_type(hint: Any) -> str | None:
    """``"u32"`` for ``Annotated[int, "u32"]``, None for anything else."""
    metadata = getattr(hint, "__metadata__", None)
    return None if metadata is None else str(metadata[0])


def _fixed_format(hint: Any) -> str | None:
    """The struct letter of a field of fixed size, None for the others."""
    wire = _wire_type(hint)
    if wire is not None:
        return _SCALARS.get(wire)
    return "B" if isinstance(hint, type) and issubclass(hint, IntEnum) else None


def _values_of(hint: Any) -> dict[int, Any] | None:
    """What the bytes of an enum or a flag stand for; None where the number is the value."""
    if _wire_type(hint) == "flag":
        return _FLAGS
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return {member.value: member for member in hint}
    return None


def _dataclass_codec(cls: type[Any]) -> _Codec:
    codec = _built.get(cls)
    if codec is None:
        codec = _built[cls] = _build_codec(cls)
    return codec


def _build_codec(cls: type[Any]) -> _Codec:
    hints = typing.get_type_hints(cls, include_extras=True)
    parts: list[tuple[list[str], _Codec]] = []
    run: list[str] = []
    for field in fields(cls):
        if _fixed_format(hints[field.name]) is not None:
            run.append(field.name)
            continue
        if run:
            parts.append((run, _fixed_codec([hints[name] for name in run])))
            run = []
        parts.append(([field.name], _variable_codec(hints[field.name])))
    if run:
        parts.append((run, _fixed_codec([hints[name] for name in run])))
    return _join_parts(cls, parts)


def _join_parts(cls: type, parts: list[tuple[list[str], _Codec]]) -> _Codec:
    """Encode the parts one after the other; decode them into the arguments of ``cls``.

    A part of fixed fields takes and gives a tuple of values, any other part one value.
    """
    writers = [(attrgetter(*names), codec[0]) for names, codec in parts]
    hints = typing.get_type_hints(cls, include_extras=True)
    readers = [(names if _fixed_format(hints[names[0]]) else None, names[0], codec[1]) for names, codec in parts]

    def write(value: Any, out: list[bytes]) -> None:
        for get, put in writers:
            put(get(value), out)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        arguments: dict[str, Any] = {}
        for group, name, take in readers:
            value, at = take(data, at)
            if group is None:
                arguments[name] = value
            else:
                arguments.update(zip(group, value, strict=True))
        return cls(**arguments), at

    return write, read


def _fixed_codec(hints: list[Any]) -> _Codec:
    letters = [str(_fixed_format(hint)) for hint in hints]
    packer = struct.Struct(">" + "".join(letters))
    # '?' reads any byte as true; reading flags as numbers lets a 2 be noticed.
    reader = struct.Struct(">" + "".join(letters).replace("?", "B"))
    tables = [(index, table) for index, hint in enumerate(hints) if (table := _values_of(hint)) is not None]
    enums = [(index, table) for index, table in tables if table is not _FLAGS]
    single = len(hints) == 1

    def write(values: Any, out: list[bytes]) -> None:
        if single:
            values = (values,)
        for index, table in enums:
            if values[index] not in table:
                raise ValueError(f"{values[index]!r} is none of {sorted(table)}")
        out.append(packer.pack(*values))

    def read(data: bytes, at: int) -> tuple[Any, int]:
        values = reader.unpack_from(data, at)
        if tables:
            changed = list(values)
            for index, table in tables:
                if changed[index] not in table:
                    raise ValueError(f"{changed[index]} is none of {sorted(table)}")
                changed[index] = table[changed[index]]
            return changed, at + reader.size
        return values, at + reader.size

    return write, read


def _variable_codec(hint: Any) -> _Codec:
    wire = _wire_type(hint)
    if wire == "text":
        return _text_codec()
    if wire == "blob":
        return _blob_codec()
    if typing.get_origin(hint) is tuple:
        return _list_codec(typing.get_args(hint)[0])
    if is_dataclass(hint) and isinstance(hint, type):
        return _dataclass_codec(hint)
    raise TypeError(f"no wire type for {hint!r}")


def _text_codec() -> _Codec:
    length = struct.Struct(">H")

    def write(value: Any, out: list[bytes]) -> None:
        data = value.encode()
        out.append(length.pack(len(data)))
        out.append(data)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        start = at + 2
        end = start + length.unpack_from(data, at)[0]
        if end > len(data):
            raise ValueError(f"a text of {end - start} bytes is cut short")
        return data[start:end].decode(), end

    return write, read


def _blob_codec() -> _Codec:
    length = struct.Struct(">I")

    def write(value: Any, out: list[bytes]) -> None:
        data = bytes(memoryview(value))
        out.append(length.pack(len(data)))
        out.append(data)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        start = at + 4
        end = start + length.unpack_from(data, at)[0]
        if end > len(data):
            raise ValueError(f"a blob of {end - start} bytes is cut short")
        return data[start:end], end

    return write, read


def _list_codec(item: Any) -> _Codec:
    count = struct.Struct(">I")
    letter = _fixed_format(item)
    if letter is not None and _values_of(item) is None:
        return _number_list_codec(letter)
    write_item, read_item = _variable_codec(item)

    def write(value: Any, out: list[bytes]) -> None:
        out.append(count.pack(len(value)))
        for entry in value:
            write_item(entry, out)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        (length,) = count.unpack_from(data, at)
        at += 4
        if length > len(data):
            raise ValueError(f"a list of {length} items is cut short")
        items = []
        for _ in range(length):
            value, at = read_item(data, at)
            items.append(value)
        return tuple(items), at

    return write, read


def _number_list_codec(letter: str) -> _Codec:
    """A list of plain numbers, packed in one go."""
    count = struct.Struct(">I")
    item_bytes = struct.calcsize(">" + letter)

    def write(value: Any, out: list[bytes]) -> None:
        out.append(struct.pack(f">I{len(value)}{letter}", len(value), *value))

    def read(data: bytes, at: int) -> tuple[Any, int]:
        (length,) = count.unpack_from(data, at)
        end = at + 4 + length * item_bytes
        if end > len(data):
            raise ValueError(f"a list of {length} numbers is cut short")
        return struct.unpack_from(f">{length}{letter}", data, at + 4), end

    return write, read
