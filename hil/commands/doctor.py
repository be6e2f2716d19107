"""``hil doctor``: what is wrong with this machine, and what to do."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Check this machine.

    Looked at: versions, checksum engine, compile cache, serial ports and permissions, sensors, disk.
    """
    from hil.commands.results import RUNS_FOLDER
    from hil.doctor import examine, exit_code

    checks = examine(RUNS_FOLDER)
    code = exit_code(checks)
    if as_json:
        click.echo(json.dumps({"ok": code == 0, "checks": [asdict(check) for check in checks]}))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            click.echo(f"{MARKS[check.state]}  {check.name:{width}}  {check.detail}")
            if check.remedy:
                click.echo(f"      {'':{width}}  -> {check.remedy}")
    context.exit(code)
