"""The messages that bring a model or its inputs to a node, from where an earlier try stopped."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from .wire_types import U32, Blob, Flag


class BlobKind(IntEnum):
    """What a bulk upload is."""

    IMAGE = 0
    INPUTS = 1


@dataclass(frozen=True, kw_only=True)
class LoadBegin:
    """Announce a blob; the reply says how many bytes of it the node already holds."""

    kind: BlobKind
    size: U32
    crc32: U32


@dataclass(frozen=True, kw_only=True)
class LoadChunk:
    """Bytes of the announced blob from ``offset`` on."""

    kind: BlobKind
    offset: U32
    data: Blob


@dataclass(frozen=True, kw_only=True)
class LoadStatus:
    """How many bytes of the blob are held, and whether it is complete, verified and in use."""

    received: U32
    complete: Flag
