"""A whole node as a program, with a service that does what a run's first input says. Started by tests.

The real service needs numba, which takes seconds to import; how processes live and die does not depend on it.
"""

import os
import signal
import sys
import time
from dataclasses import fields
from enum import IntEnum
from pathlib import Path

from firmware_bridge.errors import ModelError, Refused
from firmware_bridge.messages import (
    Configure,
    Done,
    Message,
    Reset,
    Run,
    RunResult,
    SetTemperature,
    SetThrottleLimits,
    Telemetry,
    TelemetryRequest,
)
from node.errors import PayloadCrash, PayloadHang


class Act(IntEnum):
    """What a run asks the stand-in to do."""

    ANSWER = 0
    SEGFAULT = 1
    EXIT_3 = 2
    SPIN = 3
    TRAP = 4
    PRINT = 5
    BUG = 6
    SLEEP_30_S = 7
    TRAP_HANG = 9
    CHATTER = 10
    SLEEP_50_MS = 11


class StandinService:
    def __init__(self) -> None:
        self.image = self.inputs = self.protection = b""
        self.celsius = 0.0

    def load_image(self, path: Path) -> None:
        data = path.read_bytes()
        if data == b"refuse":
            raise ModelError("this image is refused")
        if data == b"die":
            os._exit(9)
        self.image, self.inputs = data, b""

    background_wait_s = None

    def work_in_background(self) -> None:
        """There is none."""

    def load_inputs(self, path: Path) -> None:
        if not self.image:
            raise Refused("inputs before the image")
        self.inputs = path.read_bytes()

    def handle(self, message: Message) -> Message:
        match message:
            case Configure():
                self.protection = message.protection.encode()
                return Done()
            case SetTemperature():
                self.celsius = message.celsius
                return Done()
            case SetThrottleLimits() | Reset():
                return Done()
            case TelemetryRequest():
                return self.telemetry()
            case Run():
                return act(Act(message.inputs[0]), message.run_id)
        raise Refused(f"the stand-in does not answer {type(message).__name__}")

    def telemetry(self) -> Telemetry:
        held = f"{len(self.image)} {len(self.inputs)} {self.protection.decode()}"
        return Telemetry(
            uptime_ms=os.getpid(),
            state=held,
            plant_c=self.celsius,
            board_c=0.0,
            clock_mhz=0.0,
            clock_ratio=1.0,
            throttled=0,
            throttle_actuator="none",
            load=0.0,
            inferences=os.getppid(),
            corrected_words=0,
            detected_words=0,
            reloads=0,
            alarms=0,
            recomputed_steps=0,
            crc_engine="none",
            sensors="none",
        )

    def close(self) -> None:
        pass


def act(what: Act, run_id: int) -> Message:
    match what:
        case Act.SEGFAULT:
            os.kill(os.getpid(), signal.SIGSEGV)
        case Act.EXIT_3:
            print("last words", file=sys.stderr, flush=True)
            os._exit(3)
        case Act.SPIN:
            while True:
                pass
        case Act.TRAP:
            raise PayloadCrash("step 4 points outside the memory")
        case Act.TRAP_HANG:
            raise PayloadHang("it would hang")
        case Act.PRINT:
            print("a stray print")
            os.write(1, b"and one below Python\n")
        case Act.BUG:
            raise ZeroDivisionError("a bug in the service")
        case Act.SLEEP_30_S:
            time.sleep(30)
        case Act.SLEEP_50_MS:
            time.sleep(0.05)
        case Act.CHATTER:
            for _ in range(200):
                print("x" * 1000)
    return result(run_id)


def result(run_id: int) -> RunResult:
    counts = dict.fromkeys([field.name for field in fields(RunResult)], 0)
    return RunResult(**{**counts, "run_id": run_id, "inferences": (), "readbacks": ()})


def main(arguments: list[str]) -> int:
    if arguments[0] == "serve":
        from node.__main__ import serve

        url, storage = arguments[1:3]
        command = [sys.executable, __file__, "compute", storage]
        return serve(url, Path(storage), command, once="--once" in arguments)
    from node.agent import run_child

    storage, descriptor = Path(arguments[1]), int(arguments[3])
    if (storage / "held-back").exists():
        (storage / "held-back").read_text()  # a fifo: waits for the test
    if (storage / "broken").exists():
        print("this computer is broken", file=sys.stderr)
        return 7
    return run_child(descriptor, storage, StandinService)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
