"""What a target may be called: the same words and URLs everywhere."""

from __future__ import annotations

from firmware_bridge.address import BY_PYSERIAL, read_address
from firmware_bridge.errors import ConfigError, UsageError
from hil.toml_file import advice

TARGETS = {
    "sim": "the node's own code, called in this process: the fastest",
    "memory": "a node in a thread, over the full protocol without a line",
    "pty": "a node in a process of its own, behind a pseudo-terminal: the full serial stack",
    "qemu": "an emulated board, made by `hil board build-qemu`: Linux for arm64 with the node on its UART",
    "serial:///dev/ttyUSB0?baud=921600": "a board on a serial port",
    "tcp://host:port": "a board behind a serial-to-network adapter, or a node on another machine",
    "rfc2217://host:port?baud=921600": "a board behind a terminal server such as ser2net",
    "hwgrep://TEXT&baud=921600": "a board on the port whose description has TEXT; pyserial's other URLs work, too",
    "bench:NAME": "a board that bench.toml names",
    "transcript:FILE": "what a board once answered, recorded with `hil transcript record`",
}
OWN_NODES = ("sim", "memory", "pty", "qemu")
"""Targets whose node a session itself makes, so that there can be any number of them."""
SEPARATOR = ","
LINES = tuple(f"{scheme}://" for scheme in ("serial", "tcp", "rfc2217", "socket", *BY_PYSERIAL))
_NAMED = ("bench:", "transcript:")


def targets_of(target: str) -> tuple[str, ...]:
    """Give the nodes of a target; several are separated by commas.

    Examples
    --------
    >>> targets_of("bench:left,bench:right")
    ('bench:left', 'bench:right')
    """
    if target.startswith("transcript:"):  # names a file
        return (target,)
    return tuple(part.strip() for part in target.split(SEPARATOR))


def check_target(target: str, where: str) -> None:
    """Raise ConfigError unless ``target`` has the form of a target; whether it answers is found out later.

    Examples
    --------
    >>> check_target("simm", "--target")
    Traceback (most recent call last):
    firmware_bridge.errors.ConfigError: --target = 'simm': no such target; did you mean 'sim'?
    """
    several = targets_of(target)
    for one in several:
        _check_one(one, where)
    if len(several) == 1:
        return
    kinds = {one if one in OWN_NODES else "board" for one in several}
    if len(kinds) > 1:
        raise ConfigError(f"{where} = {target!r}: times of {' and '.join(sorted(kinds))} would be mixed; give one kind")
    for one in several:
        if one not in OWN_NODES and several.count(one) > 1:
            raise ConfigError(f"{where} = {target!r}: {one} is one node; give each board of a pool once")


def _check_one(target: str, where: str) -> None:
    if target in OWN_NODES or (target.startswith(_NAMED) and target not in _NAMED):
        return
    if target.startswith(LINES):
        try:
            read_address(target)
        except UsageError as error:
            raise ConfigError(f"{where} = {error}") from None
        return
    raise ConfigError(f"{where} = {target!r}: no such target; {advice(target, TARGETS)}")
