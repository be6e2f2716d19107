"""``flightnode``: serve the payload computer on a line, compile ahead, examine the board."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_bridge.errors import ConfigError, FlightNodeError
from firmware_bridge.messages import Progress
from node.machine import MOST_THREADS

if TYPE_CHECKING:
    from node.serve import Stop
    from node.service import Service

ORPHAN_S = 1.0
SERVE_HELP = """\
serial:///dev/ttyAMA0?baud=921600 (a UART), tcp://0.0.0.0:7000 (listens), pty:/dev/pts/7 (a terminal that a host
made: the node ends with it) or pty: (makes one and says its name)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code (see :mod:`firmware_bridge.errors`)."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except FlightNodeError as error:
        print(f"flightnode: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flightnode", description="The payload computer behind a serial line.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve the computer on a line")
    serve.add_argument("--port", required=True, metavar="URL", help=SERVE_HELP)
    _add_computer_options(serve)
    serve.add_argument("--once", action="store_true", help="end when the first host is gone")
    serve.add_argument(
        "--temporary", action="store_true", help="remove the storage when the program that started this dies"
    )
    serve.set_defaults(command=_serve)

    compute = commands.add_parser("compute", help="the computer itself, as `serve` starts it")
    compute.add_argument("--fd", required=True, type=int, metavar="N", help="inherited socket to the supervisor")
    _add_computer_options(compute)
    compute.set_defaults(command=_compute)

    warm_up = commands.add_parser("warm-up", help="compile all kernels ahead")
    warm_up.add_argument(
        "--processes", type=count, metavar="N", help="how many compile at once (default: one a processor)"
    )
    warm_up.set_defaults(command=_warm_up)
    doctor = commands.add_parser("doctor", help="examine the board; exit 1 if something should be repaired")
    doctor.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="what stands for / (a mounted card)"
    )
    doctor.set_defaults(command=_doctor)
    _add_board_commands(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(command=_version)
    return parser


def _add_board_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bundle = commands.add_parser("bundle", help="gather wheels for a 64-bit Arm board without a network")
    bundle.add_argument("out", type=Path, metavar="DIR", help="folder to fill")
    bundle.add_argument("--python", default="3.11", metavar="X.Y", help="Python of the board (default: %(default)s)")
    bundle.add_argument(
        "--source", type=Path, metavar="PATH", help="wheel or source tree of flightnode (default: this)"
    )
    bundle.set_defaults(command=_bundle)
    install = commands.add_parser("install", help="make this board a node: environment, service, access to the port")
    install.add_argument(
        "--port", default=None, metavar="URL", help="line to serve (default: the PL011 at 921600 baud)"
    )
    install.add_argument(
        "--prefix",
        type=Path,
        metavar="DIR",
        help="virtual environment (default: /opt/flightnode with --bundle, else the one that this is run from)",
    )
    install.add_argument("--bundle", type=Path, metavar="DIR", help="fill it from what `flightnode bundle` gathered")
    install.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="what stands for / (a mounted card)"
    )
    install.add_argument("--dry-run", action="store_true", help="print what would be written, and do nothing")
    install.add_argument("--yes", action="store_true", help="do not ask")
    install.set_defaults(command=_install)


def _add_computer_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--storage",
        type=Path,
        metavar="DIR",
        default=default_storage(),
        help="folder for uploads and checkpoints (default: %(default)s)",
    )
    parser.add_argument(
        "--warm-up",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compile or load all kernels before the first request, so that none counts as hung (default: yes)",
    )
    parser.add_argument(
        "--threads",
        type=thread_count,
        default=1,
        metavar="N",
        help="threads that share the large operators of a model; every byte is that of one (default: %(default)s)",
    )


def count(text: str) -> int:
    """Read a number of at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give 1 or more")
    return int(text)


def thread_count(text: str) -> int:
    """Read a number of threads."""
    if count(text) > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r}: give at most {MOST_THREADS}")
    return int(text)


def default_storage() -> Path:
    """Give the folder for state that outlives the process (XDG base directories)."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path("~/.local/state").expanduser()) / "flightnode"


# ---- commands ---------------------------------------------------------------------------------------------------


def _serve(options: argparse.Namespace) -> int:
    warm_up = "--warm-up" if options.warm_up else "--no-warm-up"
    command = [sys.executable, "-m", "node", "compute", "--storage", str(options.storage), warm_up]
    command += ["--threads", str(options.threads)]
    return serve(options.port, options.storage, command, once=options.once, temporary=options.temporary)


def serve(url: str, storage: Path, command: Sequence[str], *, once: bool = False, temporary: bool = False) -> int:
    """Serve the computer that ``command`` starts until told to stop, or until the line ends for good.

    Parameters
    ----------
    url : str
        The line, see :func:`node.doors.door_of`.
    storage : Path
        The folder of the blobs; one node at a time uses it.
    command : sequence of str
        Starts a process that calls :func:`node.agent.run_child`.
    once : bool
        End when the first host is gone.
    temporary : bool
        The storage is removed if the process that started this one has died meanwhile: nobody else would.
    """
    from node.blob_store import BlobStore
    from node.child_computer import ChildComputer
    from node.doors import door_of
    from node.serve import Server, Stop
    from node.service_manager import ServiceManager
    from node.stderr_log import StderrLog

    log = StderrLog()
    store = BlobStore(storage)
    stop = Stop()
    parent = os.getppid()
    with locked(storage):
        manager = ServiceManager()
        server = Server(door_of(url), ChildComputer(command, log.raw), store, log=log.line, once=once, manager=manager)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: stop.set())
        server.run(stop)
    if temporary and _is_orphan(parent, stop):
        shutil.rmtree(storage, ignore_errors=True)
    return 0


def _is_orphan(parent: int, stop: Stop) -> bool:
    """Tell whether the parent has died; its files are closed before that shows. One that lives says stop."""
    end_s = time.monotonic() + ORPHAN_S
    while not stop.is_set and time.monotonic() < end_s:
        if os.getppid() != parent:
            return True
        time.sleep(0.02)
    return False


@contextmanager
def locked(storage: Path) -> Iterator[None]:
    """Keep other nodes out of a storage folder; the lock ends with the process, however that ends."""
    with (storage / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another node uses {storage}: give this one its own --storage") from None
        yield


def _compute(options: argparse.Namespace) -> int:
    from node.agent import run_child
    from node.warm_up import warm_up_usual_kernels

    def factory() -> Service:
        from node.service import Service  # not before kernels are compiled: it loads numba

        return Service(options.storage, in_process=False, threads=options.threads)

    prepare = warm_up_usual_kernels if options.warm_up else None
    return run_child(options.fd, options.storage, factory, prepare)


def _warm_up(options: argparse.Namespace) -> int:
    from node.warm_up import usual_processes, warm_up_all_kernels

    def show(progress: Progress) -> None:
        print(f"{progress.done:3}/{progress.total} {progress.stage}", flush=True)

    warm_up_all_kernels(show, options.processes or usual_processes())
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from node.doctor import examine, print_checks
    from node.machine import Machine

    return 0 if print_checks(examine(Machine(root=options.root))) else 1


def _bundle(options: argparse.Namespace) -> int:
    from node.board_packages import SCRIPT_FILE, make_bundle

    made = make_bundle(options.out, python=options.python, source=options.source)
    wheels = sorted(path.name for path in made.rglob("*.whl"))
    print("\n".join(wheels))
    print(f"copy {made} to the board, then there: sudo ./{SCRIPT_FILE}")
    return 0


def _install(options: argparse.Namespace) -> int:
    from node.install import DEFAULT_PORT, DEFAULT_PREFIX, install, plan_installation, run_command
    from node.machine import Machine

    prefix = options.prefix or (DEFAULT_PREFIX if options.bundle else Path(sys.prefix))
    port, machine = options.port or DEFAULT_PORT, Machine(root=options.root)
    plan = plan_installation(machine, port=port, prefix=prefix, bundle=options.bundle)
    print("\n".join(plan.lines()))
    if options.dry_run:
        return 0
    done = install(plan, confirm=lambda: options.yes or _said_yes(), run=run_command)
    print("installed" if done else "nothing was touched")
    return 0


def _said_yes() -> bool:
    print("do this? [yes/no] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _version(_options: argparse.Namespace) -> int:
    from node.version import agent_version

    print(f"flightnode {agent_version()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
