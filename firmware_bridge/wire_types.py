"""What the annotation of a message's field says about its bytes on the wire; PROTOCOL.md lists the types."""

from __future__ import annotations

from typing import Annotated

U8 = Annotated[int, "u8"]
U16 = Annotated[int, "u16"]
U32 = Annotated[int, "u32"]
U64 = Annotated[int, "u64"]
F32 = Annotated[float, "f32"]
Text = Annotated[str, "text"]  # u16 length, UTF-8
Blob = Annotated[bytes, "blob"]  # u32 length, bytes
Flag = Annotated[bool, "flag"]  # u8, 0 or 1
