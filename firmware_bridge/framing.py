"""Frames: COBS( body | CRC-32 big-endian ) followed by 0x00.

COBS (Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999) removes every zero byte from the frame, so
that a zero is a boundary wherever it is seen and a receiver is back in step at the next one. Noise is counted,
never raised: a serial line carries boot messages, login prompts and halves of frames.
"""

from __future__ import annotations

from .crc import frame_crc32

DELIMITER = b"\x00"
CRC_BYTES = 4
MIN_BODY = 7
"""A body is a Space Packet: six bytes of header and at least one of data."""
MAX_BODY = 1024
"""Longest body; a receiver drops what goes on for longer without a delimiter."""
MAX_ENCODED = MAX_BODY + CRC_BYTES + (MAX_BODY + CRC_BYTES) // 254 + 1
"""Longest frame on the wire, without its delimiter."""

_SHORTEST = MIN_BODY + CRC_BYTES + 1
_LONGEST_RUN = 254
_NO_ZERO = 0xFF
"""The code of a block that no zero follows."""


def cobs_encode(data: bytes) -> bytes:
    """``data`` without any zero byte, at most one byte in 254 longer.

    Examples
    --------
    >>> cobs_encode(b"ab" + bytes(1) + b"c").hex(" ")
    '03 61 62 02 63'
    """
    return bytes((_stuffed(data) if len(data) < _LONGEST_RUN else _stuffed_long(data))[:-1])


def _stuffed(data: bytes) -> bytearray:
    """``data`` shorter than the longest run, encoded and with its delimiter: each zero becomes the way to the next."""
    frame = bytearray(DELIMITER + data + DELIMITER)
    last = len(data) + 1
    at = 0
    while at != last:
        following = frame.find(DELIMITER, at + 1)
        frame[at] = following - at
        at = following
    return frame


def _stuffed_long(data: bytes) -> bytearray:
    """The general case: after a run of 254 bytes no zero is meant."""
    out = bytearray()
    runs = data.split(DELIMITER)
    last = len(runs) - 1
    for index, run in enumerate(runs):
        length = len(run)
        if length >= _LONGEST_RUN:
            full, length = divmod(length, _LONGEST_RUN)
            for start in range(0, full * _LONGEST_RUN, _LONGEST_RUN):
                out.append(_NO_ZERO)
                out += run[start : start + _LONGEST_RUN]
            if length == 0 and index == last:
                break
            run = run[full * _LONGEST_RUN :]
        out.append(length + 1)
        out += run
    out += DELIMITER
    return out


def cobs_decode(encoded: bytes) -> bytes | None:
    """What ``encoded`` (no zero bytes in it) stands for, or None if its last block is cut short."""
    size = len(encoded)
    if size == 0:
        return None
    buffer = bytearray(encoded)
    at = buffer[0]
    if at == _NO_ZERO:
        return _cobs_decode_long(encoded)
    while at < size:
        step = buffer[at]
        if step == _NO_ZERO:
            return _cobs_decode_long(encoded)
        buffer[at] = 0
        at += step
    return bytes(buffer[1:]) if at == size else None


def _cobs_decode_long(encoded: bytes) -> bytes | None:
    """The general case: a block of code 0xFF is followed by no zero."""
    out = bytearray()
    at, size = 0, len(encoded)
    while at < size:
        code = encoded[at]
        end = at + code
        if end > size:
            return None
        out += encoded[at + 1 : end]
        if code != _NO_ZERO and end < size:
            out.append(0)
        at = end
    return bytes(out)


def encode_frame(body: bytes) -> bytes:
    """The bytes on the wire for one body, delimiter included.

    Raises
    ------
    ValueError
        If the body is shorter than :data:`MIN_BODY` or longer than :data:`MAX_BODY`.
    """
    if not MIN_BODY <= len(body) <= MAX_BODY:
        raise ValueError(f"a frame's body has {MIN_BODY} to {MAX_BODY} bytes, not {len(body)}")
    plain = body + frame_crc32(body).to_bytes(CRC_BYTES, "big")
    return bytes(_stuffed(plain) if len(plain) < _LONGEST_RUN else _stuffed_long(plain))


class FrameDecoder:
    """Takes the bytes of a line as they come and gives the bodies of the frames that are whole.

    Attributes
    ----------
    frames, bad_crc, bad_cobs, too_short, too_long
        How many stretches between two delimiters were good, or were dropped and why.
    noise_bytes
        Bytes of the stretches dropped.

    Examples
    --------
    >>> decoder = FrameDecoder()
    >>> frame = encode_frame(b"a packet")
    >>> decoder.feed(b"login: " + DELIMITER + frame[:5]), decoder.feed(frame[5:])
    ([], [b'a packet'])
    >>> decoder.frames, decoder.noise_bytes
    (1, 7)
    """

    __slots__ = ("_runaway", "_tail", "bad_cobs", "bad_crc", "frames", "noise_bytes", "too_long", "too_short")

    def __init__(self) -> None:
        self._tail = b""
        self._runaway = False
        self.frames = self.bad_crc = self.bad_cobs = self.too_short = self.too_long = self.noise_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Bodies completed by ``data``, in order."""
        if not data:
            return []
        pieces = data.split(DELIMITER)
        if self._tail:
            pieces[0] = self._tail + pieces[0]
        self._tail = pieces.pop()
        if self._runaway and pieces:
            self._runaway = False
            self.noise_bytes += len(pieces[0])
            pieces[0] = b""
        bodies = []
        for piece in pieces:
            # A good frame of short runs is opened here, since calls would double the time; all else is for _open.
            size = len(piece)
            if _SHORTEST <= size <= MAX_ENCODED:
                buffer = bytearray(piece)
                at = 0
                while at < size and (step := buffer[at]) != _NO_ZERO:
                    buffer[at] = 0
                    at += step
                if at == size:
                    body = bytes(buffer)[1:-CRC_BYTES]
                    if frame_crc32(body) == int.from_bytes(buffer[-CRC_BYTES:], "big"):
                        bodies.append(body)
                        continue
            if size and (found := self._open(piece)) is not None:
                bodies.append(found)
        if self._runaway or len(self._tail) > MAX_ENCODED:
            self._drop_runaway()
        self.frames += len(bodies)
        return bodies

    def _open(self, piece: bytes) -> bytes | None:
        size = len(piece)
        if size > MAX_ENCODED:
            self.too_long += 1
        elif size < _SHORTEST:
            self.too_short += 1
        else:
            plain = cobs_decode(piece)
            if plain is None:
                self.bad_cobs += 1
            elif len(plain) < MIN_BODY + CRC_BYTES:
                self.too_short += 1
            else:
                body = plain[:-CRC_BYTES]
                if frame_crc32(body) == int.from_bytes(plain[-CRC_BYTES:], "big"):
                    return body
                self.bad_crc += 1
        self.noise_bytes += size
        return None

    def _drop_runaway(self) -> None:
        """Nothing to keep of a stretch that is already too long: wait for the next delimiter."""
        if not self._runaway:
            self.too_long += 1
            self._runaway = True
        self.noise_bytes += len(self._tail)
        self._tail = b""
