"""What a target may be called: the same words and URLs everywhere."""

from __future__ import annotations

from firmware_bridge.address import read_address
from firmware_bridge.errors import ConfigError, UsageError
from hil.toml_file import advice

TARGETS = {
    "sim": "the node's own code, called in this process: the fastest",
    "memory": "a node in a thread, over the full protocol without a line",
    "pty": "a node in a process of its own, behind a pseudo-terminal: the full serial stack",
    "serial:///dev/ttyUSB0?baud=921600": "a board on a serial port",
    "tcp://host:port": "a board behind a serial-to-network adapter, or a node on another machine",
    "rfc2217://host:port?baud=921600": "a board behind a terminal server such as ser2net",
    "bench:NAME": "a board that bench.toml names",
    "transcript:FILE": "what a board once answered, recorded with `hil transcript record`",
}
_WORDS = ("sim", "memory", "pty")
_LINES = ("serial://", "tcp://", "rfc2217://")
_NAMED = ("bench:", "transcript:")


def check_target(target: str, where: str) -> None:
    """Raise ConfigError unless ``target`` has the form of a target; whether it answers is found out later.

    Examples
    --------
    >>> check_target("simm", "--target")
    Traceback (most recent call last):
    firmware_bridge.errors.ConfigError: --target = 'simm': no such target; did you mean 'sim'?
    """
    if target in _WORDS or (target.startswith(_NAMED) and target not in _NAMED):
        return
    if target.startswith(_LINES):
        try:
            read_address(target)
        except UsageError as error:
            raise ConfigError(f"{where} = {error}") from None
        return
    raise ConfigError(f"{where} = {target!r}: no such target; {advice(target, TARGETS)}")
