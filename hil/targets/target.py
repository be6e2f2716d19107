"""Targets by URL: which node a campaign talks to."""

from __future__ import annotations

from hil.progress import ProgressSink
from hil.targets.session import Session

OWN_NODES = ("sim", "memory", "pty")
"""Targets whose node the session itself makes, so that there can be any number of them."""


def can_be_multiplied(target: str) -> bool:
    """True where several sessions of this target are several nodes."""
    return target in OWN_NODES


def open_session(target: str, progress: ProgressSink) -> Session:
    """Give a live session of a target.

    Parameters
    ----------
    target : str
        ``sim``, ``memory``, ``pty``, ``serial:///dev/ttyUSB0?baud=921600``, ``tcp://host:port``, ``bench:NAME`` or
        ``transcript:FILE``.
    progress : callable
        Told about uploads and kernels that the node compiles.

    Raises
    ------
    ConfigError
        No such target.
    PortError, LinkLost
        Nobody answers there.
    """
    if target == "sim":
        from hil.targets.sim_session import SimSession

        return SimSession()
    from hil.targets.hosts import host_of
    from hil.targets.link_session import LinkSession

    return LinkSession(host_of(target), progress)
