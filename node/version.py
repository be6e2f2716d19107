"""Which release this is."""

from __future__ import annotations

from importlib import metadata


def agent_version() -> str:
    """Give the version of the installed distribution, or ``unknown`` when run from a bare source tree."""
    try:
        return metadata.version("flightnode")
    except metadata.PackageNotFoundError:
        return "unknown"
