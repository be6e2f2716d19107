"""A board that is switched on after the command: it is waited for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from firmware_bridge.errors import LinkLost, PortError
from hil.boards.address import OWN_NODES, targets_of
from hil.progress import ProgressEvent, ProgressSink, silent
from hil.targets.target import open_session

AGAIN_S = 0.2


def wait_for_nodes(target: str, folders: Iterable[Path], wait_s: float, progress: ProgressSink) -> None:
    """Return once every board of a target has its port and answers.

    Parameters
    ----------
    target : str
        As behind ``--target``; nodes that a session itself makes are not waited for.
    folders : iterable of Path
        Where ``bench.toml`` is looked for.
    wait_s : float
        So long all of them together may take; 0 does nothing.
    progress : callable
        Told what is missing.

    Raises
    ------
    PortError, LinkLost
        What is still missing then.
    """
    end_s = time.monotonic() + wait_s
    for node in targets_of(target) if wait_s > 0 else ():
        while node not in OWN_NODES:
            try:
                open_session(node, silent, folders).close()
                break
            except (PortError, LinkLost) as error:
                if time.monotonic() > end_s:
                    raise type(error)(f"{error} (waited for {wait_s:g} s)") from None
                progress(ProgressEvent(stage=f"wait for {node}", done=0, total=0, note=str(error)))
                time.sleep(AGAIN_S)
