"""The command ``hil``: one file a command, loaded when it is called, and one place that answers for errors."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence

import click

from firmware_bridge.errors import FlightNodeError
from hil.ctrl_c import interruptible_anywhere

COMMANDS = (
    "init",
    "compile",
    "run",
    "exhaustive",
    "estimate",
    "resume",
    "confirm",
    "sensitivity",
    "measure",
    "trade",
    "merge",
    "replay",
    "report",
    "export",
    "demo",
    "doctor",
    "devices",
    "suggest",
    "console",
    "board",
    "transcript",
)
"""Each is ``hil.commands.NAME.command``; the order is that of ``hil --help``."""

EXIT_CODES = """\b
Exit codes
  0  ok
  1  a goal failed, or an internal error
  2  usage, configuration, bad model or data
  3  port, link or board lost
  4  interrupted or disk full; what was measured is kept
"""
INTERRUPTED = 4


class LazyGroup(click.Group):
    """A group that imports the module of a command when it is asked for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order of :data:`COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and give one command; None for an unknown name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"hil.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(package_name="flightnode", prog_name="hil")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def cli(debug: bool) -> None:
    """Strike, heat and measure a flight-compute node, and compare its protections."""
    del debug  # main reads it from the context


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code; no input becomes a traceback.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands behind ``hil``; by default the process's own.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # click empties the list it gets
        with interruptible_anywhere(INTERRUPTED), cli.make_context("hil", list(given)) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except FlightNodeError as error:
        return _say(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read us has gone: nothing to say, and nothing may be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the one place where bugs end
        return _unexpected(error, debug="--debug" in given)
    return 0


def _unexpected(error: Exception, *, debug: bool) -> int:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _say(f"{_place(error)}{error.strerror}; make room and start again", INTERRUPTED)
    if isinstance(error, OSError) and error.filename is not None and not debug:
        return _say(f"{_place(error)}{error.strerror}; check that path and its permissions", 2)
    if debug:
        import traceback

        traceback.print_exception(error)
        return 1
    return _say(f"internal error: {type(error).__name__}: {error}; please report it, with what --debug shows", 1)


def _place(error: OSError) -> str:
    return f"{error.filename}: " if error.filename is not None else ""


def _say(message: str, exit_code: int) -> int:
    print(f"hil: {message}", file=sys.stderr)
    return exit_code
