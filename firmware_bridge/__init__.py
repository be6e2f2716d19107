"""The serial link, both ends of it: bytes, and neither numpy nor numba."""

from .bridge import Bridge

__all__ = ["Bridge"]
