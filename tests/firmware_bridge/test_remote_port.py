"""A port behind a terminal server: pyserial's own on a loop in memory, and ser2net on a pseudo-terminal."""

import logging
import os
import shutil
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import serial
import serial.rfc2217

from firmware_bridge.address import read_address
from firmware_bridge.bridge import Bridge
from firmware_bridge.errors import PortError, UsageError
from firmware_bridge.loading import BlobKind
from firmware_bridge.transport import Transport, open_pty, open_transport
from tests.fake_node import FakeNode


class Server:
    """Serves one caller; what is written to the port comes back from it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self.listener.getsockname()[1]}?baud=3000000"
        self.device = serial.serial_for_url("loop://", timeout=0.02)
        self.connection: socket.socket | None = None
        threading.Thread(target=self.serve, daemon=True).start()

    def write(self, data: bytes) -> None:
        assert self.connection is not None
        self.connection.sendall(data)

    def serve(self) -> None:
        self.connection, _ = self.listener.accept()
        manager = serial.rfc2217.PortManager(self.device, self, logging.getLogger("quiet"))
        threading.Thread(target=self.back, args=(manager,), daemon=True).start()
        try:
            while data := self.connection.recv(4096):
                self.device.write(b"".join(manager.filter(data)))
        except OSError:
            return

    def back(self, manager: serial.rfc2217.PortManager) -> None:
        try:
            while True:
                data = self.device.read(self.device.in_waiting or 1)
                if data:
                    self.write(b"".join(manager.escape(data)))
        except (OSError, serial.SerialException):
            return

    def close(self) -> None:
        self.listener.close()
        if self.connection is not None:
            self.connection.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def read_all(line: Transport, size: int) -> bytes:
    got = b""
    while len(got) < size:
        data = line.read(timeout_s=10.0)
        assert data, "the rest never came"
        got += data
    return got


def test_all_bytes_pass_both_ways(server: Server) -> None:
    data = bytes(range(256)) * 4 + b"\xff" * 20 + Random(1).randbytes(3000)
    with open_transport(server.url) as line:
        assert line.baud == 3_000_000
        assert server.device.baudrate == 3_000_000
        assert "ign_set_control" in line.name
        line.write(data)
        assert read_all(line, len(data)) == data


def test_a_server_that_goes_away_is_noticed(server: Server) -> None:
    with open_transport(server.url) as line:
        assert server.connection is not None
        server.connection.shutdown(socket.SHUT_RDWR)
        with pytest.raises(PortError, match="vanished"):
            read_all(line, 1)


@contextmanager
def ser2net(folder: Path, device: str) -> Iterator[str]:
    """Serve a device as Debian's ser2net does; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "ser2net.yaml").write_text(
        f"connection: &node\n    accepter: telnet(rfc2217),tcp,127.0.0.1,{port}\n"
        f"    connector: serialdev,{device},115200n81,local\n"
    )
    with subprocess.Popen(["ser2net", "-n", "-c", str(folder / "ser2net.yaml")], stderr=subprocess.DEVNULL) as process:
        try:
            yield f"rfc2217://127.0.0.1:{port}?baud=921600"
        finally:
            process.terminate()


def opened(url: str) -> Bridge:
    """A bridge to a server that is just starting."""
    end_s = time.monotonic() + 20
    while True:
        try:
            return Bridge.connect(url)
        except PortError:
            assert time.monotonic() < end_s
            time.sleep(0.1)


@pytest.mark.skipif(shutil.which("ser2net") is None, reason="ser2net is not installed (Debian package ser2net)")
def test_a_session_through_a_real_terminal_server(tmp_path: Path) -> None:
    """Opened plainly, pyserial gives up on its control lines after 3 s: this is what ``ign_set_control`` is for."""
    data = bytes(range(256)) * 100
    master, path = open_pty(persistent=True)
    with FakeNode(master) as node, ser2net(tmp_path, path) as url, opened(url) as bridge:
        assert bridge.load(BlobKind.IMAGE, data).complete
        assert node.blobs[BlobKind.IMAGE] == data
        assert bridge.stats.bad_crc == bridge.stats.bad_cobs == 0
        port = os.open(path, os.O_RDWR | os.O_NOCTTY)
        assert termios.tcgetattr(port)[5] == termios.B921600, "the server was told the baud rate"
        os.close(port)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(PortError, match="ser2net"):
        open_transport(f"rfc2217://127.0.0.1:{port}")


def test_addresses() -> None:
    address = read_address("rfc2217://pi:3001?baud=921600")
    assert (address.place, address.port, address.baud) == ("pi", 3001, 921_600)
    for wrong in ("rfc2217://pi", "rfc2217://pi:1?bauds=3", "rfc2217://:3", "rfc2217://pi:1?dtr=off"):
        with pytest.raises(UsageError):
            read_address(wrong)
