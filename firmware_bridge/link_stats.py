"""What one end of the link counts."""

from __future__ import annotations

from dataclasses import dataclass


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
