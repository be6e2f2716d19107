"""The serial link, both ends of it: bytes, and neither numpy nor numba."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bridge import Bridge

__all__ = ["Bridge"]


def __getattr__(name: str) -> object:
    """Load the bridge when it is asked for: whoever needs the errors alone does not wait for it."""
    if name == "Bridge":
        from .bridge import Bridge

        return Bridge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
