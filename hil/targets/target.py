"""Targets by URL: which node a campaign talks to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from firmware_bridge.errors import ConfigError
from hil.boards.address import OWN_NODES, targets_of
from hil.progress import ProgressSink
from hil.targets.session import Session


def can_be_multiplied(target: str) -> bool:
    """True where several sessions of this target are several nodes."""
    return target in OWN_NODES


def open_session(target: str, progress: ProgressSink, folders: Iterable[Path] = ()) -> Session:
    """Give a live session of a target.

    Parameters
    ----------
    target : str
        ``sim``, ``memory``, ``pty``, ``qemu``, ``serial:///dev/ttyUSB0?baud=921600``, ``tcp://host:port``,
        ``bench:NAME`` or ``transcript:FILE``.
    progress : callable
        Told about uploads and kernels that the node compiles.
    folders : iterable of Path
        Where ``bench.toml`` is looked for, after the working directory.

    Raises
    ------
    ConfigError
        No such target, or several.
    PortError, LinkLost
        Nobody answers there.
    """
    if len(targets_of(target)) > 1:
        raise ConfigError(f"{target}: these are several nodes where one is needed; name one of them")
    if target == "sim":
        from hil.targets.sim_session import SimSession

        return SimSession()
    from hil.targets.hosts import host_of
    from hil.targets.link_session import LinkSession

    return LinkSession(host_of(target, (Path.cwd(), *folders)), progress)
