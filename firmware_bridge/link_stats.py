"""What one end of the link counts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .estimate import FrameSize, RoundTrip
from .framing import FrameDecoder
from .sender import Sender
from .streams import Receiver


@dataclass(slots=True)
class LinkStats:
    """Counters since the link was made. ``body_bytes`` is the frame size in use now."""

    bytes_sent: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    frames_received: int = 0
    retransmitted: int = 0
    duplicates: int = 0
    refused: int = 0
    acks_sent: int = 0
    acks_received: int = 0
    bad_crc: int = 0
    bad_cobs: int = 0
    bad_length: int = 0
    noise_bytes: int = 0
    bad_packets: int = 0
    echoes: int = 0
    stale: int = 0
    sessions: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    unsent: int = 0
    body_bytes: int = 0
    round_trip_s: float = 0.0


def gathered(
    past: LinkStats, decoder: FrameDecoder, sender: Sender, receiver: Receiver, size: FrameSize, round_trip: RoundTrip
) -> LinkStats:
    """Give the counters of a link whose parts count for themselves; ``past`` holds those of its earlier sessions."""
    return replace(
        past,
        retransmitted=past.retransmitted + sender.retransmitted,
        duplicates=past.duplicates + receiver.duplicates,
        refused=past.refused + receiver.refused,
        frames_received=decoder.frames,
        bad_crc=decoder.bad_crc,
        bad_cobs=decoder.bad_cobs,
        bad_length=decoder.too_short + decoder.too_long,
        noise_bytes=decoder.noise_bytes,
        body_bytes=size.body_bytes,
        round_trip_s=round_trip.smoothed_s,
    )
